"""What may be spent on ends that a callback should tell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import trio
import trio.testing

from nano_banana_mcp.tracking.purse import GUESSES_PER_LOST, Purse
from nano_banana_mcp.tracking.schedule import SafetyPace
from tests.lab.benchmarks.detection import latencies

UNKNOWN = SafetyPace()
KNOWN = SafetyPace(latencies(6.0, 30, seed=1), (), 0.02)


def virtually(run: Callable[[], Awaitable[None]]) -> None:
    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


async def spent_within(purse: Purse, seconds: float, queue: int) -> int:
    """How many queries go while so many want to be asked for all the time, from 2 s after their submit."""
    began, count = anyio.current_time() - 2.0, 0
    while (elapsed := anyio.current_time() - began) < seconds:
        pause = purse.due_in(UNKNOWN, elapsed, queue)
        if pause <= 0.001:
            purse.spend(UNKNOWN)
            count += 1
        await anyio.sleep(max(pause, 0.01))
    return count


def test_before_any_callback_has_come_few_queries_are_spent_a_task_alone_or_many_at_once() -> None:
    for many in (1, 10, 20, 60, 200):

        async def run(many: int = many) -> None:
            purse = Purse()
            for number in range(many):
                purse.submitted(number + 1)
            allowed = max(2, 0.2 * many)
            assert 1 <= await spent_within(purse, 6.0, many) <= allowed, many

        virtually(run)


def test_a_long_wait_without_an_answer_is_asked_for_now_and_then_all_the_same() -> None:
    async def run() -> None:
        purse = Purse()
        purse.submitted(1)
        assert 4 <= await spent_within(purse, 60.0, 1) <= 8

    virtually(run)


def test_an_end_that_nobody_told_lets_the_next_be_asked_for_at_once() -> None:
    async def run() -> None:
        purse = Purse()
        await anyio.sleep(1.0)
        purse.spend(UNKNOWN)
        assert purse.due_in(UNKNOWN, 3.0, 1) > 0.5
        purse.found()
        assert purse.due_in(UNKNOWN, 3.0, 1) == 0.0

    virtually(run)


def test_with_nothing_to_spare_a_known_pace_waits_until_nearly_all_would_be_ready() -> None:
    async def run() -> None:
        purse = Purse()
        assert KNOWN.first() < KNOWN.latest
        assert purse.due_in(KNOWN, KNOWN.first(), 1) == KNOWN.latest - KNOWN.first()
        assert purse.due_in(KNOWN, KNOWN.latest, 1) == 0.0
        for number in range(30):
            purse.submitted(number + 1)
        assert purse.due_in(KNOWN, KNOWN.first(), 1) == 0.0

    virtually(run)


def test_tasks_one_after_another_do_not_pile_up_guesses_but_a_lost_callback_allows_several() -> None:
    async def run() -> None:
        purse = Purse()
        for _ in range(1_000):
            purse.submitted(1)
        assert guesses(purse) == 1
        purse.lost()
        assert guesses(purse) == GUESSES_PER_LOST

    def guesses(purse: Purse) -> int:
        count = 0
        while purse.due_in(KNOWN, KNOWN.first(), 1) == 0.0:
            purse.spend(KNOWN)
            count += 1
        return count

    virtually(run)
