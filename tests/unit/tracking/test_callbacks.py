from collections.abc import Awaitable, Callable
from itertools import pairwise

import anyio
import pytest
import trio
import trio.testing

from nano_banana_mcp.tracking.callbacks import MISSED_IN_A_ROW, SPACING_SECONDS, CallbackTracker


def where(generation_id: str) -> str:
    return f"https://e.org/{generation_id}"


def virtually(run: Callable[[], Awaitable[None]]) -> None:
    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


def listening() -> tuple[CallbackTracker, list[int]]:
    """CallbackTracker of which ten are awaited, and a list that grows with each change."""
    callbacks, changes = CallbackTracker(where), []
    callbacks.on_change = lambda: changes.append(1)
    for number in range(10):
        assert callbacks.address(f"in-{number}") == f"https://e.org/in-{number}"
    return callbacks, changes


def tell(callbacks: CallbackTracker, generation_id: str) -> None:
    callbacks.came(generation_id)
    assert not callbacks.ended(generation_id)


def lose(callbacks: CallbackTracker, generation_id: str) -> None:
    assert callbacks.ended(generation_id)
    callbacks.settle(generation_id)


async def test_before_the_first_has_come_they_are_relied_on_until_one_is_missed() -> None:
    callbacks, changes = listening()
    assert callbacks.lost_share is None
    assert callbacks.expected("in-1")
    lose(callbacks, "in-0")
    assert not callbacks.expected("in-1")
    assert changes


async def test_three_that_are_found_at_once_before_any_has_come_need_no_grace() -> None:
    callbacks, changes = listening()
    for number in range(MISSED_IN_A_ROW):
        assert callbacks.expected("in-9")
        callbacks.ended(f"in-{number}")
    assert not callbacks.expected("in-9")
    assert changes


async def test_one_that_comes_within_its_grace_was_not_lost() -> None:
    callbacks, _ = listening()
    assert callbacks.ended("in-0")
    callbacks.came_late("in-0")
    callbacks.settle("in-0")
    assert callbacks.expected("in-1")
    assert callbacks.lost_share is not None


async def test_one_that_comes_after_it_was_missed_brings_the_trust_back_once() -> None:
    callbacks, changes = listening()
    lose(callbacks, "in-0")
    callbacks.came_late("in-0")
    assert callbacks.expected("in-1")
    for number in range(1, 1 + MISSED_IN_A_ROW):
        lose(callbacks, f"in-{number}")
    changes.clear()
    callbacks.came_late("in-0")  # a replay
    assert not callbacks.expected("in-9")
    assert not changes


async def test_where_nobody_listens_none_is_asked_for() -> None:
    callbacks = CallbackTracker(None)
    assert callbacks.address("in-1") is None
    assert not callbacks.expected("in-1")


async def test_ends_that_no_callback_told_let_polling_take_over_until_one_comes_again() -> None:
    callbacks, changes = listening()
    tell(callbacks, "in-0")
    for number in range(1, 1 + MISSED_IN_A_ROW):
        assert callbacks.expected("in-9")
        lose(callbacks, f"in-{number}")
    assert not callbacks.expected("in-9")
    changes.clear()
    tell(callbacks, "in-8")
    assert callbacks.expected("in-9")
    assert changes


async def test_the_share_of_lost_ones_follows_what_is_seen() -> None:
    callbacks, _ = listening()
    tell(callbacks, "in-0")
    first = callbacks.lost_share
    for number in range(1, 5):
        tell(callbacks, f"in-{number}")
    second = callbacks.lost_share
    lose(callbacks, "in-5")
    third = callbacks.lost_share
    assert first is not None
    assert second is not None
    assert third is not None
    assert second < first < 0.05 < third < 0.25


async def test_one_that_came_too_early_is_not_awaited_any_more() -> None:
    callbacks, _ = listening()
    callbacks.came("in-0")
    assert callbacks.expected("in-0")  # until the query has an answer
    callbacks.did_not_end("in-0")
    assert not callbacks.expected("in-0")
    assert not callbacks.ended("in-0")


async def test_many_callbacks_for_one_intent_lead_to_one_question_now_and_one_later() -> None:
    callbacks = CallbackTracker(where)
    pauses = [callbacks.came("in-1") for _ in range(100)]
    assert pauses[0] == 0.0
    assert pauses[1] == pytest.approx(SPACING_SECONDS, abs=0.2)
    assert pauses[2:] == [None] * 98
    assert callbacks.came("in-2") == 0.0


def test_a_stream_of_callbacks_leads_to_at_most_one_question_in_two_seconds() -> None:
    async def run() -> None:
        callbacks = CallbackTracker(where)
        asked: list[float] = []
        for _ in range(1_000):
            for generation_id in ("in-1", "in-2"):
                pause = callbacks.came(generation_id)
                if pause is not None and generation_id == "in-1":
                    asked.append(anyio.current_time() + pause)
            await anyio.sleep(0.03)
        gaps = [later - earlier for earlier, later in pairwise(asked)]
        assert len(asked) >= 14
        assert min(gaps) >= SPACING_SECONDS - 1e-9

    virtually(run)


def test_what_is_remembered_of_callbacks_does_not_grow() -> None:
    async def run() -> None:
        callbacks = CallbackTracker(where)
        for number in range(20_000):
            callbacks.came(f"in-{number}")
            await anyio.sleep(0.01)
        assert len(callbacks._free_from) <= SPACING_SECONDS / 0.01 + 2

    virtually(run)


async def test_an_intent_of_another_process_is_leaned_on_where_callbacks_may_come() -> None:
    here, deaf = CallbackTracker(where), CallbackTracker(None)
    for each in (here, deaf):
        each.adopt("in-x")
    assert here.expected("in-x")
    assert not deaf.expected("in-x")


async def test_an_intent_whose_callback_came_too_early_is_not_leaned_on_again() -> None:
    callbacks, _ = listening()
    callbacks.came("in-0")
    callbacks.did_not_end("in-0")
    callbacks.adopt("in-0")
    assert not callbacks.expected("in-0")
