"""What goes wrong beside the calls ends none of them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import psycopg
import pytest
import trio
import trio.testing

from nano_banana_mcp.app import open_service
from nano_banana_mcp.common.supervise import PAUSE_SECONDS, supervise
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.ledger.leases import HEARTBEAT_SECONDS
from nano_banana_mcp.ledger.notifications import SharedLedger, listen
from nano_banana_mcp.ledger.postgres_connection import Database
from nano_banana_mcp.settings import load_settings
from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.server import serve_sandbox
from nano_banana_tools.subscriptions.bus import ResourceUpdateBus
from tests.support.clients import KEY

PROMPT = "a secret lighthouse"


def virtually(run: Callable[[], Awaitable[Any]]) -> Any:
    return trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


def test_what_goes_on_is_begun_again_after_a_pause_until_it_is_cancelled() -> None:
    begun: list[float] = []

    async def work() -> None:
        begun.append(anyio.current_time())
        raise ValueError(PROMPT)

    async def run() -> bool:
        with anyio.move_on_after(3.5 * PAUSE_SECONDS) as scope:
            await supervise("the work", work, goes_on=True)
        return scope.cancelled_caught

    assert virtually(run)
    assert [moment - begun[0] for moment in begun] == pytest.approx([PAUSE_SECONDS * times for times in range(4)])


async def test_the_log_has_the_kind_and_the_place_of_an_error_and_never_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> None:
        raise ExceptionGroup(PROMPT, [ValueError(PROMPT), KeyError(PROMPT)])

    with caplog.at_level(logging.DEBUG):
        await supervise("the work", work)
    assert "the work went wrong: ValueError, KeyError" in caplog.text
    assert PROMPT not in caplog.text

    async def odd() -> None:
        raise OSError(PROMPT)

    with caplog.at_level(logging.DEBUG):
        await supervise("the work", odd)
    assert "OSError at test_guard.py:" in caplog.text
    assert PROMPT not in caplog.text


async def test_a_listener_that_fails_keeps_neither_the_others_nor_the_change_from_going_on() -> None:
    bus = ResourceUpdateBus()
    heard: list[object] = []

    def fails(_: object) -> None:
        raise KeyError(PROMPT)

    bus.subscribe(fails)
    bus.subscribe(heard.append)
    bus.changed(Generation("in-1", "ta-1"))
    assert len(heard) == 3


async def test_an_odd_row_met_after_a_callback_ends_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        serve_sandbox(SandboxConfig(seconds=3_600.0)) as sandbox,
        open_service(load_settings(base_url=sandbox.url, api_key=KEY)) as service,
    ):
        made = (await service.generate(SubmitRequest(model="m", prompt=PROMPT))).generation
        assert made.task_id is not None
        seen = anyio.Event()

        async def odd(*_: object, **__: object) -> None:
            seen.set()
            raise ValueError(PROMPT)

        with monkeypatch.context() as broken:
            broken.setattr(service.refresher, "ask", odd)
            assert await service.refresher.called_back(made.generation_id, made.task_id)
            with anyio.fail_after(5):
                await seen.wait()
            await anyio.wait_all_tasks_blocked()
        assert (await service.look(made.public_id)).task_id == made.task_id


def test_who_listens_for_other_replicas_tries_again_whatever_went_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []

    async def connect(**_: Any) -> None:
        tried.append(anyio.current_time())
        raise OSError(PROMPT)

    async def changed(_: str | None) -> None:
        raise AssertionError("nothing was heard")

    async def run() -> None:
        with anyio.move_on_after(60.0):
            await listen(Database("postgresql://e.org/db"), "me", changed)

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", connect)
    virtually(run)
    assert len(tried) > 10


def test_the_heartbeat_goes_on_whatever_went_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[float] = []

    async def odd(*_: object, **__: object) -> None:
        beats.append(anyio.current_time())
        raise KeyError(PROMPT)

    ledger = SharedLedger("postgresql://e.org/db")
    monkeypatch.setattr(ledger, "_on_database", odd)

    async def run() -> None:
        with anyio.move_on_after(10 * HEARTBEAT_SECONDS):
            await ledger._live()

    virtually(run)
    assert len(beats) == 10
