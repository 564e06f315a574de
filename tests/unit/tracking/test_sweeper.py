"""Tasks that nobody waits for, on a virtual clock."""

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
from nano_banana_mcp.ledger.base import MemoryLedger
from nano_banana_mcp.tracking.sweeper import OLDEST_SECONDS, SWEEP_SECONDS, OpenTaskSweeper, due


def virtually(run: Callable[[], Awaitable[Any]]) -> Any:
    return trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


@dataclass
class House:
    """A ledger, an API whose tasks end ``latency`` seconds after time 0, and who is waited for or told of."""

    latency: float = 45.0
    waited_for: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    trouble: Exception | None = None
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    asked: list[tuple[str, float]] = field(default_factory=list)

    async def look(self, known: Generation) -> None:
        self.asked.append((known.generation_id, anyio.current_time()))
        await anyio.sleep(0.25)
        if self.trouble is not None:
            raise self.trouble
        if anyio.current_time() >= self.latency:
            await self.ledger.save(replace(known, status=Status.SUCCESS, finished_at=anyio.current_time()))

    async def run(self, seconds: float, *tasks: Generation) -> None:
        for task in tasks:
            await self.ledger.save(task)
        caretaker = OpenTaskSweeper(
            self.ledger,
            look=self.look,
            in_care=lambda known: known.generation_id in self.waited_for,
            told=lambda generation_id: generation_id in self.told,
            now=anyio.current_time,
        )
        with anyio.move_on_after(seconds):
            await caretaker.run()


def task(name: str, submitted_at: float = 0.0) -> Generation:
    return Generation(name, f"ta-{name}", Status.PENDING, created_at=submitted_at, submitted_at=submitted_at)


@pytest.mark.parametrize("latency", [1.0, 12.0, 45.0, 180.0, 600.0])
def test_a_task_that_nobody_waits_for_ends_within_thirty_seconds_of_its_end(latency: float) -> None:
    house = House(latency)
    virtually(lambda: house.run(latency + 60.0, task("a")))
    assert house.asked[-1][1] - latency <= 30.0
    end = virtually(lambda: house.ledger.find("a"))
    assert end.finished


def test_a_task_of_before_the_clock_was_put_back_is_looked_after_all_the_same() -> None:
    house = House(latency=45.0)
    virtually(lambda: house.run(180.0, task("a", submitted_at=3_600.0)))
    end = virtually(lambda: house.ledger.find("a"))
    assert end.finished
    assert len(house.asked) <= 6


def test_a_task_that_somebody_waits_for_is_left_to_them() -> None:
    house = House(waited_for={"a"})
    virtually(lambda: house.run(300.0, task("a"), task("b")))
    assert {name for name, _ in house.asked} == {"b"}


def test_an_end_that_a_callback_should_tell_is_asked_for_late() -> None:
    house = House(latency=1_000.0, told={"a"})
    virtually(lambda: house.run(85.0, task("a")))
    assert house.asked == []


def test_trouble_is_lived_through() -> None:
    house = House(trouble=NoAnswer("nothing"))
    virtually(lambda: house.run(120.0, task("a"), task("b")))
    assert len(house.asked) >= 6


@pytest.mark.parametrize("odd", [ValueError("a row"), KeyError("an answer"), OSError("a disk")])
def test_what_nobody_foresaw_is_lived_through_too(odd: Exception) -> None:
    house = House(trouble=odd)
    virtually(lambda: house.run(120.0, task("a"), task("b")))
    assert len(house.asked) >= 6


def test_a_ledger_that_fails_oddly_is_swept_again(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    opened, failures = house.ledger.open_tasks, iter([ValueError("a row"), OSError("a disk")])

    async def odd(since: float) -> list[Generation]:
        for failure in failures:
            raise failure
        return await opened(since)

    monkeypatch.setattr(house.ledger, "open_tasks", odd)
    virtually(lambda: house.run(90.0, task("a")))
    assert house.asked


def test_many_are_asked_for_a_few_at_a_time_and_none_is_left_out() -> None:
    house = House(latency=5.0)
    virtually(lambda: house.run(60.0, *(task(f"t{n}") for n in range(200))))
    assert {name for name, _ in house.asked} == {f"t{n}" for n in range(200)}
    assert max(sum(1 for _, at in house.asked if moment <= at < moment + 0.25) for _, moment in house.asked) <= 8


def test_what_has_no_end_is_asked_for_less_and_less_often() -> None:
    assert due(900.0, 74.0, told=False) is False
    assert due(900.0, 76.0, told=False) is True


def test_what_is_older_than_a_day_is_left_alone() -> None:
    house = House(latency=1e9)
    virtually(lambda: house.run(60.0, task("old", submitted_at=-OLDEST_SECONDS - 1), task("new", submitted_at=-50.0)))
    assert {name for name, _ in house.asked} == {"new"}


def test_the_ledger_is_tidied_every_hour_and_trouble_with_it_is_lived_through(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    tidied: list[float] = []

    async def tidy() -> None:
        tidied.append(anyio.current_time())
        raise OSError("a disk")

    monkeypatch.setattr(house.ledger, "tidy", tidy)
    virtually(lambda: house.run(4 * 3_600.0 - 60.0))
    assert tidied == pytest.approx([3_600.0, 7_200.0, 10_800.0], abs=SWEEP_SECONDS)
