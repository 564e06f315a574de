"""Which callbacks are expected, and when they are trusted; on a virtual clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise

import anyio
import pytest
import trio
import trio.testing

from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.tracking.callbacks import (
    GRACE_SECONDS,
    MAX_MISSED_IN_A_ROW,
    MAX_REMEMBERED,
    SPACING_SECONDS,
    CallbackTracker,
)


def url_of(generation_id: str) -> str:
    return f"https://e.org/{generation_id}"


def virtually(run: Callable[[], Awaitable[None]]) -> None:
    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


def open_task(number: int) -> Generation:
    return Generation(f"in-{number}", f"ta{number}", Status.PENDING, submitted_at=0.0, expects_callback=True)


def ended_task(number: int) -> Generation:
    return replace(open_task(number), status=Status.SUCCESS)


def trusted() -> CallbackTracker:
    callbacks = CallbackTracker(url_of)
    callbacks.received(open_task(0))
    callbacks.on_end(ended_task(0))
    return callbacks


async def miss(callbacks: CallbackTracker, number: int) -> None:
    callbacks.on_end(ended_task(number))
    await anyio.sleep(GRACE_SECONDS)


async def test_callbacks_are_not_trusted_before_one_has_arrived() -> None:
    callbacks = CallbackTracker(url_of)
    assert callbacks.expect("in-1") == "https://e.org/in-1"
    assert not callbacks.is_expected(open_task(1))
    callbacks.received(open_task(2))
    assert callbacks.is_expected(open_task(1))


async def test_a_server_that_receives_no_callbacks_expects_none() -> None:
    callbacks = CallbackTracker(None)
    callbacks.received(open_task(1))
    assert callbacks.expect("in-1") is None
    assert not callbacks.is_expected(open_task(2))


async def test_a_generation_with_a_callback_url_of_the_caller_expects_none() -> None:
    assert not trusted().is_expected(replace(open_task(1), expects_callback=False))


def test_three_missed_in_a_row_end_the_trust_until_one_arrives() -> None:
    async def run() -> None:
        callbacks = trusted()
        for number in range(1, 1 + MAX_MISSED_IN_A_ROW):
            assert callbacks.is_expected(open_task(9))
            await miss(callbacks, number)
        assert not callbacks.is_expected(open_task(9))
        callbacks.received(open_task(8))
        assert callbacks.is_expected(open_task(9))

    virtually(run)


def test_a_callback_between_missed_ones_keeps_the_trust() -> None:
    async def run() -> None:
        callbacks = trusted()
        for number in range(1, 30):
            if number % MAX_MISSED_IN_A_ROW == 0:
                callbacks.received(open_task(number))
            await miss(callbacks, number)
            assert callbacks.is_trusted

    virtually(run)


def test_a_callback_within_its_grace_is_not_missed() -> None:
    async def run() -> None:
        callbacks = trusted()
        for number in range(1, 10):
            callbacks.on_end(ended_task(number))
            assert callbacks.received(ended_task(number)) is None
        await anyio.sleep(1.0)
        assert callbacks.is_trusted

    virtually(run)


def test_an_end_that_another_process_noticed_is_not_missed_here() -> None:
    async def run() -> None:
        callbacks = trusted()
        for number in range(1, 10):
            callbacks.reported_elsewhere(ended_task(number))
            await miss(callbacks, number)
        assert callbacks.is_trusted

    virtually(run)


async def test_after_a_callback_that_came_too_early_no_other_is_expected() -> None:
    callbacks = trusted()
    assert callbacks.received(open_task(1)) == 0.0
    assert not callbacks.is_expected(open_task(1))


async def test_many_callbacks_for_one_generation_lead_to_one_query_now_and_one_later() -> None:
    callbacks = CallbackTracker(url_of)
    pauses = [callbacks.received(open_task(1)) for _ in range(100)]
    assert pauses[0] == 0.0
    assert pauses[1] == pytest.approx(SPACING_SECONDS, abs=0.2)
    assert pauses[2:] == [None] * 98
    assert callbacks.received(open_task(2)) == 0.0


def test_a_stream_of_callbacks_leads_to_at_most_one_query_in_two_seconds() -> None:
    async def run() -> None:
        callbacks = CallbackTracker(url_of)
        queries_at: list[float] = []
        for _ in range(1_000):
            pause = callbacks.received(open_task(1))
            if pause is not None:
                queries_at.append(anyio.current_time() + pause)
            await anyio.sleep(0.03)
        gaps = [later - earlier for earlier, later in pairwise(queries_at)]
        assert len(queries_at) >= 14
        assert min(gaps) >= SPACING_SECONDS - 1e-9

    virtually(run)


async def test_the_memory_of_callbacks_is_bounded() -> None:
    callbacks = CallbackTracker(url_of)
    for number in range(2 * MAX_REMEMBERED):
        callbacks.received(open_task(number))
    assert len(callbacks._received) == len(callbacks._next_query_at) == MAX_REMEMBERED
