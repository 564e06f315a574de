"""The waiting loop on a virtual clock: no test here takes real time."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from nano_banana_mcp.tracking.purse import Purse

from nano_banana_mcp.defapi.errors import (
    Busy,
    DefapiError,
    KeyRefused,
    NoAnswer,
    OutOfCredits,
    RequestRefused,
    TaskNotFound,
)
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.tracking.schedule import MAX_SAFETY_INTERVAL_SECONDS, Pace, SafetyPace
from nano_banana_mcp.tracking.waiter import (
    MAX_OPENED,
    MAX_REFUSALS,
    REPORT_EVERY_SECONDS,
    TURN_SECONDS,
    TaskWaiter,
    WaitResult,
    waiting_room,
)


class Api:
    """An API whose task ends ``latency`` seconds after its submit at time 0."""

    def __init__(self, latency: float = 12.0, troubles: dict[int, Exception] | None = None) -> None:
        self.latency = latency
        self.troubles = troubles or {}
        self.asked_at: list[float] = []
        self.round_trip = 0.25

    async def ask(self, known: Generation) -> Generation:
        number = len(self.asked_at)
        self.asked_at.append(anyio.current_time())
        await anyio.sleep(self.round_trip)
        if number in self.troubles:
            raise self.troubles[number]
        done = anyio.current_time() >= self.latency
        return replace(known, status=Status.SUCCESS if done else Status.IN_PROGRESS)


def virtually(run: Callable[[], Awaitable[Any]]) -> Any:
    """Run on a clock that starts at 0 and jumps to the next deadline whenever nothing else is left to do."""
    return trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


async def unhurried(_: Generation) -> Pace:
    """Nothing is known yet."""
    return Pace()


FRESH = Generation("in-1", "ta1", Status.PENDING, submitted_at=0.0)


def others(number: int, **changed: Any) -> Generation:
    known = Generation(f"in-{number}", f"ta{number}", Status.PENDING, submitted_at=0.0, model="m")
    return replace(known, **changed)


def waiting_for(api: Api, *, timeout: float = 60.0, known: Generation = FRESH) -> WaitResult:
    async def run() -> WaitResult:
        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting:
            return await waiting.wait(known, timeout)

    result: WaitResult = virtually(run)
    return result


def test_a_wait_ends_with_the_image_soon_after_it_is_ready() -> None:
    async def run() -> float:
        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting:
            assert (await waiting.wait(FRESH, 60.0)).generation.status is Status.SUCCESS
            return anyio.current_time()

    api = Api(latency=12.0)
    assert virtually(run) - 12.0 <= 2.5


@pytest.mark.parametrize("off", [-4e8, -3_600.0, 3_600.0, 4e8])
@pytest.mark.parametrize(
    "pace", [Pace(), Pace((12.0,) * 20), SafetyPace((12.0,) * 20, (), 0.1)], ids=["new", "learned", "safety"]
)
def test_a_wait_ends_soon_after_the_image_is_ready_though_the_clock_was_put_back_or_forward(
    pace: Pace, off: float
) -> None:
    async def known(_: Generation) -> Pace:
        return pace

    async def run() -> float:
        async with waiting_room(api.ask, known, lambda: anyio.current_time() + off) as waiting:
            assert (await waiting.wait(FRESH, 240.0)).generation.status is Status.SUCCESS
            return anyio.current_time()

    api = Api(latency=12.0)
    assert virtually(run) - 12.0 <= MAX_SAFETY_INTERVAL_SECONDS


def test_a_wait_that_times_out_hands_back_the_state() -> None:
    waited = waiting_for(Api(latency=500.0), timeout=10.0)
    assert waited.generation.status is Status.IN_PROGRESS
    assert waited.trouble is None


def test_a_wait_lasts_no_longer_than_its_timeout() -> None:
    async def run() -> float:
        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting:
            await waiting.wait(FRESH, 7.0)
            return anyio.current_time()

    api = Api(latency=500.0)
    assert virtually(run) == pytest.approx(7.0)


def test_a_finished_task_is_not_asked_for() -> None:
    api = Api()
    assert waiting_for(api, known=replace(FRESH, status=Status.SUCCESS)).generation.finished
    assert api.asked_at == []


def test_twenty_waits_for_one_task_cost_the_queries_of_one() -> None:
    async def run() -> list[WaitResult]:
        results: list[WaitResult] = []

        async def one(waiting: TaskWaiter) -> None:
            results.append(await waiting.wait(FRESH, 60.0))

        async with waiting_room(many.ask, unhurried, anyio.current_time) as waiting, anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(one, waiting)
        return results

    alone, many = Api(), Api()
    waiting_for(alone)
    results = virtually(run)
    assert [waited.generation.status for waited in results] == [Status.SUCCESS] * 20
    assert many.asked_at == alone.asked_at


@pytest.mark.parametrize("pace", [Pace(), SafetyPace()])
def test_a_task_made_elsewhere_is_asked_for_at_once_and_then_less_and_less_often(pace: Pace) -> None:
    async def pace_of(_: Generation) -> Pace:
        return pace

    async def run() -> None:
        await anyio.sleep(100.0)  # the server has run for a while
        async with waiting_room(api.ask, pace_of, anyio.current_time) as waiting:
            await waiting.wait(Generation("in-1", "ta1", Status.PENDING), 60.0)

    api = Api(latency=500.0)
    virtually(run)
    pauses = [later - earlier for earlier, later in pairwise(api.asked_at)]
    assert api.asked_at[0] == 100.0
    assert pauses[0] < 2.5
    assert pauses[-1] > pauses[0]


def test_waiting_again_after_a_timeout_goes_on_with_the_schedule() -> None:
    async def run() -> None:
        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting:
            for _ in range(10):
                await waiting.wait(FRESH, 1.0)

    api = Api(latency=500.0)
    virtually(run)
    assert len(api.asked_at) <= 9


@pytest.mark.parametrize("trouble", [NoAnswer("gone"), Busy("busy", status=503)])
def test_passing_trouble_is_lived_through(trouble: DefapiError) -> None:
    waited = waiting_for(Api(latency=12.0, troubles=dict.fromkeys(range(4), trouble)))
    assert waited == WaitResult(replace(FRESH, status=Status.SUCCESS))


def test_trouble_until_the_deadline_is_handed_back_with_the_state() -> None:
    trouble = NoAnswer("gone")
    waited = waiting_for(Api(troubles=dict.fromkeys(range(100), trouble)), timeout=30.0)
    assert waited == WaitResult(FRESH, trouble)


def test_the_trouble_of_a_task_whose_end_was_told_is_over() -> None:
    ended = replace(FRESH, status=Status.SUCCESS)

    async def run() -> None:
        async def tell() -> None:
            await anyio.sleep(3.0)
            waiting.tell(ended)

        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting, anyio.create_task_group() as group:
            group.start_soon(tell)
            assert await waiting.wait(FRESH, 60.0) == WaitResult(ended, None)

    api = Api(troubles=dict.fromkeys(range(100), NoAnswer("gone")))
    virtually(run)
    assert len(api.asked_at) == 1


def test_a_retry_after_is_honoured_between_queries() -> None:
    api = Api(latency=60.0, troubles={0: Busy("busy", status=429, retry_after=20.0)})
    waiting_for(api)
    assert api.asked_at[1] - api.asked_at[0] >= 20.0


@pytest.mark.parametrize("trouble", [KeyRefused("", status=401), TaskNotFound("", status=404)])
def test_a_refusal_of_a_task_of_ours_ends_every_wait_after_the_third_in_a_row(trouble: DefapiError) -> None:
    async def run() -> list[type[Exception]]:
        errors: list[type[Exception]] = []

        async def one(waiting: TaskWaiter) -> None:
            try:
                await waiting.wait(FRESH, 60.0)
            except DefapiError as error:
                errors.append(type(error))

        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting, anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(one, waiting)
        assert anyio.current_time() < 10.0
        return errors

    api = Api(troubles=dict.fromkeys(range(100), trouble))
    assert virtually(run) == [type(trouble)] * 3
    assert len(api.asked_at) == MAX_REFUSALS


@pytest.mark.parametrize(
    "trouble", [KeyRefused("", status=401), KeyRefused("", status=403), TaskNotFound("", status=404)]
)
def test_a_refusal_of_a_task_made_elsewhere_ends_the_wait_at_once(trouble: DefapiError) -> None:
    async def run() -> None:
        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting:
            with pytest.raises(type(trouble)):
                await waiting.wait(Generation("in-1", "ta1"), 60.0)

    api = Api(troubles=dict.fromkeys(range(100), trouble))
    virtually(run)
    assert len(api.asked_at) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        KeyRefused("", status=403),
        OutOfCredits("", status=402),
        RequestRefused("", status=400),
    ],
)
def test_what_gateways_say_now_and_then_is_lived_through_for_a_task_of_ours(trouble: DefapiError) -> None:
    waited = waiting_for(Api(latency=30.0, troubles=dict.fromkeys(range(4), trouble)))
    assert waited.generation.status is Status.SUCCESS


def test_an_error_of_one_wait_does_not_spoil_the_next() -> None:
    async def run() -> WaitResult:
        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting:
            with pytest.raises(KeyRefused):
                await waiting.wait(FRESH, 60.0)
            return await waiting.wait(FRESH, 60.0)

    api = Api(troubles=dict.fromkeys(range(MAX_REFUSALS), KeyRefused("no", status=401)))
    assert virtually(run).generation.status is Status.SUCCESS


def test_a_defect_while_asking_reaches_the_waiter_and_not_the_whole_server() -> None:
    async def run() -> None:
        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting:
            with pytest.raises(ZeroDivisionError):
                await waiting.wait(FRESH, 60.0)
            await waiting.wait(FRESH, 60.0)

    api = Api(troubles={0: ZeroDivisionError()})
    virtually(run)


def test_the_loop_ends_with_the_last_wait() -> None:
    async def run() -> None:
        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting:
            with anyio.move_on_after(5.0):
                await waiting.wait(FRESH, 60.0)
            asked = len(api.asked_at)
            await anyio.sleep(100.0)
            assert len(api.asked_at) == asked

    api = Api(latency=500.0)
    virtually(run)


def test_a_cancelled_wait_leaves_the_others_waiting() -> None:
    async def run() -> None:
        async def impatient(waiting: TaskWaiter) -> None:
            with anyio.move_on_after(3.0):
                await waiting.wait(FRESH, 60.0)

        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting, anyio.create_task_group() as group:
            group.start_soon(impatient, waiting)
            assert (await waiting.wait(FRESH, 60.0)).generation.finished

    api = Api()
    virtually(run)


def test_progress_is_reported_at_the_start_at_each_change_and_every_few_seconds() -> None:
    reports: list[tuple[Status, float]] = []

    async def report(generation: Generation, waited: float) -> None:
        reports.append((generation.status, waited))

    async def run() -> None:
        async with waiting_room(Api(latency=20.0).ask, unhurried, anyio.current_time) as waiting:
            await waiting.wait(FRESH, 60.0, report)

    virtually(run)
    assert reports[0] == (Status.PENDING, 0.0)
    assert reports[1][0] is Status.IN_PROGRESS
    times = [waited for _, waited in reports]
    assert times == sorted(times)
    assert all(later - earlier <= REPORT_EVERY_SECONDS + 0.01 for earlier, later in pairwise(times))


def test_a_state_learned_elsewhere_ends_the_wait_at_once() -> None:
    async def run() -> None:
        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting, anyio.create_task_group() as group:

            async def tell() -> None:
                await anyio.sleep(0.5)
                waiting.tell(replace(FRESH, status=Status.SUCCESS))

            group.start_soon(tell)
            waited = await waiting.wait(FRESH, 60.0)
            assert waited.generation.finished
            assert anyio.current_time() == pytest.approx(0.5)

    api = Api(latency=500.0)
    virtually(run)
    assert api.asked_at == []


def test_an_unknown_outcome_that_is_settled_meanwhile_is_asked_for_at_the_pace_of_any_other() -> None:
    class Settled(Api):
        async def ask(self, known: Generation) -> Generation:
            found = await super().ask(known)
            return replace(found, task_id="ta1", submitted_at=0.0) if anyio.current_time() > 3.0 else known

    api = Settled(latency=30.0)
    waited = waiting_for(api, known=Generation("in-1"))
    assert waited.generation.status is Status.SUCCESS
    assert len(api.asked_at) < 25


def test_waits_that_are_told_to_think_again_ask_at_once_where_they_are_overdue() -> None:
    lean = True

    async def pace_of(_: Generation) -> Pace:
        return SafetyPace([30.0] * 50, (), 0.001) if lean else Pace()

    async def run() -> None:
        nonlocal lean
        async with waiting_room(api.ask, pace_of, anyio.current_time) as waiting, anyio.create_task_group() as group:
            group.start_soon(waiting.wait, FRESH, 60.0)
            await anyio.sleep(10.0)
            assert api.asked_at == []
            lean = False
            waiting.reconsider()
            await anyio.sleep(1.0)
            assert api.asked_at == [10.0]
            group.cancel_scope.cancel()

    api = Api(latency=500.0)
    virtually(run)


def test_waits_that_lean_on_callbacks_nobody_knows_of_take_turns() -> None:
    async def unknown(_: Generation) -> Pace:
        return SafetyPace()

    async def run() -> None:
        async with waiting_room(api.ask, unknown, anyio.current_time) as waiting, anyio.create_task_group() as group:
            for number in range(30):
                known = Generation(f"in-{number}", f"ta{number}", Status.PENDING, submitted_at=0.0)
                group.start_soon(waiting.wait, known, 60.0)
            await anyio.sleep(9.0)
            group.cancel_scope.cancel()

    api = Api(latency=500.0)
    virtually(run)
    assert 2 <= len(api.asked_at) <= 10
    assert api.asked_at[0] == 2.0
    assert all(later - earlier > 0.5 for earlier, later in pairwise(api.asked_at))


class Counted(Purse):
    """Allows nothing until it is told to, and notes how many wanted to ask."""

    def __init__(self) -> None:
        super().__init__()
        self.open = False
        self.queues: list[int] = []

    def due_in(self, pace: SafetyPace, elapsed: float, queue: int) -> float:
        self.queues.append(queue)
        return 0.0 if self.open else 30.0


def queueing(api: Api, purse: Purse, many: int, then: Callable[[TaskWaiter], Awaitable[None]]) -> None:
    """So many waits want to ask from 2 s on; ``then`` happens at 10.01 s."""

    async def unknown(_: Generation) -> Pace:
        return SafetyPace()

    async def run() -> None:
        room = waiting_room(api.ask, unknown, anyio.current_time, purse)
        async with room as waiting, anyio.create_task_group() as group:
            for number in range(many):
                group.start_soon(waiting.wait, others(number), 60.0)
            await anyio.sleep(10.01)
            await then(waiting)
            group.cancel_scope.cancel()

    virtually(run)


@pytest.mark.parametrize("many", [1, 3])
def test_the_purse_is_told_how_many_want_to_ask(many: int) -> None:
    async def then(_: TaskWaiter) -> None:
        assert purse.queues[-1] == many

    purse = Counted()
    queueing(Api(latency=500.0), purse, many, then)


def test_all_that_queue_ask_as_soon_as_the_purse_allows_it() -> None:
    async def then(_: TaskWaiter) -> None:
        assert api.asked_at == []
        purse.open = True
        await anyio.sleep(TURN_SECONDS)
        assert len(api.asked_at) == 3

    api, purse = Api(latency=500.0), Counted()
    queueing(api, purse, 3, then)


def test_a_task_whose_state_is_told_while_it_queues_is_not_asked_for() -> None:
    async def then(waiting: TaskWaiter) -> None:
        for number in range(3):
            waiting.tell(others(number, status=Status.IN_PROGRESS))
        await anyio.sleep(1.0)
        assert api.asked_at == []

    api = Api(latency=500.0)
    queueing(api, Counted(), 3, then)


def test_a_wait_that_thinks_again_all_the_time_keeps_its_pauses_after_failures() -> None:
    async def run() -> None:
        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting, anyio.create_task_group() as group:
            group.start_soon(waiting.wait, FRESH, 60.0)
            for _ in range(100):
                await anyio.sleep(0.1)
                waiting.reconsider()
            group.cancel_scope.cancel()

    api = Api(troubles=dict.fromkeys(range(100), NoAnswer("gone")))
    virtually(run)
    assert 3 <= len(api.asked_at) <= 5


def test_two_thousand_waits_at_once_all_end() -> None:
    async def run() -> int:
        ended = 0

        async def one(waiting: TaskWaiter, number: int) -> None:
            nonlocal ended
            await waiting.wait(Generation(f"in-{number}", f"ta{number}", Status.PENDING, submitted_at=0.0), 60.0)
            ended += 1

        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting, anyio.create_task_group() as group:
            for number in range(2_000):
                group.start_soon(one, waiting, number)
        return ended

    api = Api(latency=30.0)
    assert virtually(run) == 2_000


def test_whoever_fits_a_pace_is_told_the_ages_of_what_is_open_of_the_same_model() -> None:
    async def run() -> None:
        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting, anyio.create_task_group() as group:
            known = [others(1), others(2, submitted_at=1.0), others(3, submitted_at=None), others(4, model="n")]
            for each in known:
                group.start_soon(waiting.wait, each, 60.0)
            await anyio.sleep(5.0)
            assert sorted(waiting.opened("m")) == pytest.approx([4.0, 5.0])
            assert waiting.opened("n") == pytest.approx([5.0])
            assert waiting.opened(None) == []
            for number in range(10, 10 + 2 * MAX_OPENED):
                group.start_soon(waiting.wait, others(number), 60.0)
            await anyio.sleep(0.1)
            assert len(waiting.opened("m")) == MAX_OPENED
            group.cancel_scope.cancel()

    api = Api(latency=500.0)
    virtually(run)


def test_what_is_waited_for_is_known_by_its_task_and_by_our_own_id() -> None:
    async def run() -> None:
        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting, anyio.create_task_group() as group:
            group.start_soon(waiting.wait, FRESH, 60.0)
            group.start_soon(waiting.wait, Generation("in-2"), 60.0)
            await anyio.sleep(0.1)
            assert waiting.watches(FRESH)
            assert waiting.watches(Generation("in-2", "ta2"))
            assert not waiting.watches(Generation("in-1", "ta9"))
            assert not waiting.watches(Generation("in-9", "ta9"))
            group.cancel_scope.cancel()

    api = Api(latency=500.0)
    virtually(run)


def test_a_change_of_state_is_reported_when_it_is_seen_and_the_time_is_that_of_this_wait() -> None:
    reports: list[tuple[Status, float, float]] = []

    async def report(generation: Generation, waited: float) -> None:
        reports.append((generation.status, waited, anyio.current_time()))

    async def run() -> None:
        await anyio.sleep(100.0)
        known = replace(FRESH, submitted_at=100.0)
        async with waiting_room(Api(latency=500.0).ask, unhurried, anyio.current_time) as waiting:
            await waiting.wait(known, 9.9, report)

    virtually(run)
    assert [at - 100.0 for _, _, at in reports] == pytest.approx([waited for _, waited, _ in reports])
    assert [status for status, _, _ in reports][:2] == [Status.PENDING, Status.IN_PROGRESS]
    assert [waited for _, waited, _ in reports] == pytest.approx([0.0, 2.25, 5.25, 8.25])


def test_an_answer_ends_the_row_of_failures() -> None:
    api = Api(latency=500.0, troubles=dict.fromkeys([0, 1, 3], NoAnswer("gone")))
    waiting_for(api, timeout=20.0)
    pauses = [later - earlier - api.round_trip for earlier, later in pairwise(api.asked_at)]
    assert pauses[1] >= 2.0  # after two failures
    assert pauses[3] < 2.0  # after one


def test_a_task_that_was_asked_for_a_moment_before_the_wait_is_not_asked_for_at_once() -> None:
    async def run() -> None:
        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting:
            await anyio.sleep(30.0)
            waiting.tell(replace(FRESH, status=Status.IN_PROGRESS))
            await waiting.wait(FRESH, 4.0)
            assert api.asked_at == []
            await waiting.wait(FRESH, 4.0)
            assert api.asked_at == [30.0 + Pace().interval(30.0)]

    api = Api(latency=500.0)
    virtually(run)


def test_of_a_task_that_has_ended_no_query_is_remembered() -> None:
    async def run() -> None:
        async with waiting_room(api.ask, unhurried, anyio.current_time) as waiting:
            await waiting.wait(FRESH, 60.0)
            assert waiting._last_query == {}

    api = Api(latency=12.0)
    virtually(run)


def test_the_pace_is_asked_for_with_what_is_known_of_the_task() -> None:
    asked: list[Generation] = []

    async def pace_of(known: Generation) -> Pace:
        asked.append(known)
        return Pace()

    async def run() -> None:
        async with waiting_room(Api().ask, pace_of, anyio.current_time) as waiting:
            await waiting.wait(FRESH, 60.0)

    virtually(run)
    assert asked[0] is FRESH
