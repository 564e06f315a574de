"""Tasks without a waiter, on a virtual clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from nano_banana_mcp.defapi.errors import NoAnswer
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.tracking.sweeper import (
    CATCH_UP_AGE_SECONDS,
    MAX_AGE_SECONDS,
    SWEEP_INTERVAL_SECONDS,
    MissingImageSweeper,
    OpenTaskSweeper,
)
from tests.support.dict_ledger import DictLedger


def virtually(run: Callable[[], Awaitable[Any]]) -> Any:
    return trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


class Images:
    """An image store that does nothing."""

    def urls_can_work(self, _: Generation) -> bool:
        return True

    async def tidy(self) -> None:
        """Nothing to tidy."""


@dataclass
class SweeperHarness:
    """A ledger, an API whose tasks end ``latency`` seconds after time 0, and the tasks with a waiter or a callback."""

    latency: float = 45.0
    waited_for: set[str] = field(default_factory=set)
    called_back: set[str] = field(default_factory=set)
    last_error: Exception | None = None
    ledger: DictLedger = field(default_factory=DictLedger)
    queried: list[tuple[str, float]] = field(default_factory=list)

    async def refresh(self, generation: Generation, why: str) -> None:
        self.queried.append((generation.generation_id, anyio.current_time()))
        await anyio.sleep(0.25)
        if self.last_error is not None:
            raise self.last_error
        if anyio.current_time() >= self.latency:
            await self.ledger.save(replace(generation, status=Status.SUCCESS, finished_at=anyio.current_time()))

    def seconds_since_query(self, generation: Generation) -> float | None:
        times = [at for name, at in self.queried if name == generation.generation_id]
        return anyio.current_time() - times[-1] if times else None

    def has_waiter(self, generation: Generation) -> bool:
        return generation.generation_id in self.waited_for

    def is_expected(self, generation: Generation) -> bool:
        return generation.generation_id in self.called_back

    async def run(self, seconds: float, *tasks: Generation) -> None:
        for task in tasks:
            await self.ledger.save(task)
        me: Any = self
        images: Any = Images()
        ledger: Any = self.ledger
        sweeper = OpenTaskSweeper(ledger, images, me, me, me, api="a", now=anyio.current_time)
        with anyio.move_on_after(seconds):
            await sweeper.run()


def task(name: str, submitted_at: float = 0.0) -> Generation:
    return Generation(name, f"ta-{name}", Status.PENDING, created_at=submitted_at, submitted_at=submitted_at)


@pytest.mark.parametrize("latency", [1.0, 12.0, 45.0, 180.0, 600.0])
def test_the_end_of_a_task_without_a_waiter_is_noticed_within_thirty_seconds(latency: float) -> None:
    harness = SweeperHarness(latency)
    virtually(lambda: harness.run(latency + 60.0, task("a")))
    assert harness.queried[-1][1] - latency <= 30.0
    end = virtually(lambda: harness.ledger.find("a"))
    assert end.finished


def test_a_task_from_before_the_clock_was_put_back_is_queried_too() -> None:
    harness = SweeperHarness(latency=45.0)
    virtually(lambda: harness.run(180.0, task("a", submitted_at=3_600.0)))
    end = virtually(lambda: harness.ledger.find("a"))
    assert end.finished
    assert len(harness.queried) <= 6


def test_a_task_with_a_waiter_is_not_swept() -> None:
    harness = SweeperHarness(waited_for={"a"})
    virtually(lambda: harness.run(300.0, task("a"), task("b")))
    assert {name for name, _ in harness.queried} == {"b"}


def test_a_task_with_an_expected_callback_is_queried_late() -> None:
    harness = SweeperHarness(latency=1_000.0, called_back={"a"})
    virtually(lambda: harness.run(85.0, task("a")))
    assert harness.queried == []


def test_a_failed_query_does_not_end_the_sweeper() -> None:
    harness = SweeperHarness(last_error=NoAnswer("nothing"))
    virtually(lambda: harness.run(120.0, task("a"), task("b")))
    assert len(harness.queried) >= 6


@pytest.mark.parametrize("odd", [ValueError("a row"), KeyError("an answer"), OSError("a disk")])
def test_an_unexpected_error_does_not_end_the_sweeper(odd: Exception) -> None:
    harness = SweeperHarness(last_error=odd)
    virtually(lambda: harness.run(120.0, task("a"), task("b")))
    assert len(harness.queried) >= 6


def test_a_ledger_that_fails_unexpectedly_is_swept_again(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = SweeperHarness()
    opened, failures = harness.ledger.open_tasks, iter([ValueError("a row"), OSError("a disk")])

    async def odd(since: float) -> list[Generation]:
        for failure in failures:
            raise failure
        return await opened(since)

    monkeypatch.setattr(harness.ledger, "open_tasks", odd)
    virtually(lambda: harness.run(90.0, task("a")))
    assert harness.queried


def test_many_tasks_are_all_queried_a_few_at_a_time() -> None:
    harness = SweeperHarness(latency=5.0)
    virtually(lambda: harness.run(60.0, *(task(f"t{n}") for n in range(200))))
    assert {name for name, _ in harness.queried} == {f"t{n}" for n in range(200)}
    assert (
        max(sum(1 for _, at in harness.queried if moment <= at < moment + 0.25) for _, moment in harness.queried) <= 8
    )


def test_a_task_older_than_a_day_is_not_swept() -> None:
    harness = SweeperHarness(latency=1e9)
    virtually(
        lambda: harness.run(60.0, task("old", submitted_at=-MAX_AGE_SECONDS - 1), task("new", submitted_at=-50.0))
    )
    assert {name for name, _ in harness.queried} == {"new"}


def test_the_ledger_is_tidied_every_hour_even_if_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = SweeperHarness()
    tidied: list[float] = []

    async def tidy() -> None:
        tidied.append(anyio.current_time())
        raise OSError("a disk")

    monkeypatch.setattr(harness.ledger, "tidy", tidy)
    virtually(lambda: harness.run(4 * 3_600.0 - 60.0))
    assert tidied == pytest.approx([3_600.0, 7_200.0, 10_800.0], abs=SWEEP_INTERVAL_SECONDS)


def test_a_process_without_the_sweep_lock_does_not_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = SweeperHarness()

    async def refuse() -> bool:
        return False

    monkeypatch.setattr(harness.ledger, "acquire_sweep_lock", refuse)
    virtually(lambda: harness.run(300.0, task("a")))
    assert harness.queried == []


def test_images_of_the_last_day_are_stored_soon_after_the_start_and_again_every_hour() -> None:
    stored: list[tuple[float, list[str]]] = []

    class Store:
        async def store_missing(self, generations: list[Generation]) -> None:
            stored.append((anyio.current_time(), [generation.generation_id for generation in generations]))

    class Rows:
        async def succeeded_since(self, since: float) -> list[Generation]:
            assert since == pytest.approx(anyio.current_time() - CATCH_UP_AGE_SECONDS)
            return [Generation("in-1", api="a"), Generation("in-2", api="another")]

    async def run() -> None:
        rows: Any = Rows()
        store: Any = Store()
        with anyio.move_on_after(4_000.0):
            await MissingImageSweeper(rows, store, api="a", now=anyio.current_time).run()

    virtually(run)
    assert stored == [(1.0, ["in-1"]), (3_601.0, ["in-1"])]
