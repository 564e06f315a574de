"""Waiting for tasks, on a virtual clock: no test here takes real time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import anyio
import pytest
import trio
import trio.testing

from nano_banana_mcp.defapi.errors import (
    Busy,
    DefapiError,
    KeyRefused,
    NoAnswer,
    OutOfCredits,
    RequestRefused,
    TaskNotFound,
)
from nano_banana_mcp.generations.batches import GenerationOrBatch
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.tracking.callbacks import CallbackTracker
from nano_banana_mcp.tracking.refresh import TaskRefresher
from nano_banana_mcp.tracking.schedule import Schedule
from nano_banana_mcp.tracking.waiter import (
    MAX_POLL_SECONDS,
    MAX_REFUSALS,
    REPORT_INTERVAL_SECONDS,
    TaskWaiter,
    WaitResult,
)


class Refresher:
    """A refresher whose task ends ``latency`` seconds after its submit at time 0."""

    def __init__(self, latency: float = 12.0, errors: dict[int, Exception] | None = None) -> None:
        self.latency = latency
        self.errors = errors or {}
        self.queried_at: list[float] = []
        self.round_trip = 0.25
        self.last_query_at: dict[str, float] = {}

    async def refresh(self, generation: Generation) -> Generation:
        number = len(self.queried_at)
        self.queried_at.append(anyio.current_time())
        await anyio.sleep(self.round_trip)
        self.last_query_at[generation.generation_id] = anyio.current_time()
        if number in self.errors:
            raise self.errors[number]
        is_done = anyio.current_time() >= self.latency
        return replace(generation, status=Status.SUCCESS if is_done else Status.IN_PROGRESS)

    def seconds_since_query(self, generation: Generation) -> float | None:
        queried_at = self.last_query_at.get(generation.generation_id)
        return None if queried_at is None else anyio.current_time() - queried_at


@asynccontextmanager
async def waiter_of(
    api: Refresher, now: Callable[[], float] = anyio.current_time, callbacks: CallbackTracker | None = None
) -> AsyncIterator[TaskWaiter]:
    async with anyio.create_task_group() as tasks:
        yield TaskWaiter(cast(TaskRefresher, api), callbacks or CallbackTracker(None), tasks, now)
        tasks.cancel_scope.cancel()


def virtually(run: Callable[[], Awaitable[Any]]) -> Any:
    """Run on a clock that starts at 0 and jumps to the next deadline whenever nothing else is left to do."""
    return trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


FRESH = Generation("in-1", "ta1", Status.PENDING, submitted_at=0.0)


def others(number: int, **changed: Any) -> Generation:
    task = Generation(f"in-{number}", f"ta{number}", Status.PENDING, submitted_at=0.0, model="m")
    return replace(task, **changed)


def waiting_for(api: Refresher, *, timeout: float = 60.0, task: Generation = FRESH) -> WaitResult:
    async def run() -> WaitResult:
        async with waiter_of(api) as waiter:
            return await waiter.wait(task, timeout)

    result: WaitResult = virtually(run)
    return result


def test_a_wait_ends_with_the_image_soon_after_it_is_ready() -> None:
    async def run() -> float:
        async with waiter_of(api) as waiter:
            assert (await waiter.wait(FRESH, 60.0)).generation.status is Status.SUCCESS
            return anyio.current_time()

    api = Refresher(latency=12.0)
    assert virtually(run) - 12.0 <= 2.5


def test_a_wait_that_times_out_hands_back_the_state() -> None:
    waited = waiting_for(Refresher(latency=500.0), timeout=10.0)
    assert waited.generation.status is Status.IN_PROGRESS
    assert waited.last_error is None


def test_a_wait_lasts_no_longer_than_its_timeout() -> None:
    async def run() -> float:
        async with waiter_of(api) as waiter:
            await waiter.wait(FRESH, 7.0)
            return anyio.current_time()

    api = Refresher(latency=500.0)
    assert virtually(run) == pytest.approx(7.0)


def test_a_wait_that_ends_before_the_first_query_returns_the_recorded_state() -> None:
    assert waiting_for(api := Refresher(), timeout=1.0) == WaitResult(FRESH)
    assert api.queried_at == []


def test_a_finished_task_is_not_asked_for() -> None:
    api = Refresher()
    assert waiting_for(api, task=replace(FRESH, status=Status.SUCCESS)).generation.finished
    assert api.queried_at == []


def test_twenty_waits_for_one_task_cost_the_queries_of_one() -> None:
    async def run() -> list[WaitResult]:
        results: list[WaitResult] = []

        async def one(waiter: TaskWaiter) -> None:
            results.append(await waiter.wait(FRESH, 60.0))

        async with waiter_of(many) as waiter, anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(one, waiter)
        return results

    alone, many = Refresher(), Refresher()
    waiting_for(alone)
    results = virtually(run)
    assert [waited.generation.status for waited in results] == [Status.SUCCESS] * 20
    assert many.queried_at == alone.queried_at


def test_waiting_again_after_a_timeout_goes_on_with_the_schedule() -> None:
    async def run() -> None:
        async with waiter_of(api) as waiter:
            for _ in range(10):
                await waiter.wait(FRESH, 1.0)

    api = Refresher(latency=500.0)
    virtually(run)
    assert len(api.queried_at) <= 9


@pytest.mark.parametrize("last_error", [NoAnswer("gone"), Busy("busy", status=503)])
def test_a_wait_survives_passing_errors(last_error: DefapiError) -> None:
    waited = waiting_for(Refresher(latency=12.0, errors=dict.fromkeys(range(4), last_error)))
    assert waited == WaitResult(replace(FRESH, status=Status.SUCCESS))


def test_an_error_that_lasts_until_the_deadline_is_returned_with_the_state() -> None:
    last_error = NoAnswer("gone")
    waited = waiting_for(Refresher(errors=dict.fromkeys(range(100), last_error)), timeout=30.0)
    assert waited == WaitResult(FRESH, last_error)


def test_a_reported_end_clears_the_earlier_error_of_a_task() -> None:
    ended = replace(FRESH, status=Status.SUCCESS)

    async def run() -> None:
        async def tell() -> None:
            await anyio.sleep(3.0)
            waiter.on_change(ended)

        async with waiter_of(api) as waiter, anyio.create_task_group() as group:
            group.start_soon(tell)
            assert await waiter.wait(FRESH, 60.0) == WaitResult(ended, None)

    api = Refresher(errors=dict.fromkeys(range(100), NoAnswer("gone")))
    virtually(run)
    assert len(api.queried_at) == 1


def test_a_retry_after_is_honoured_between_queries() -> None:
    api = Refresher(latency=60.0, errors={0: Busy("busy", status=429, retry_after=20.0)})
    waiting_for(api)
    assert api.queried_at[1] - api.queried_at[0] >= 20.0


@pytest.mark.parametrize("last_error", [KeyRefused("", status=401), TaskNotFound("", status=404)])
def test_three_refusals_in_a_row_of_a_task_of_this_server_end_every_wait(last_error: DefapiError) -> None:
    async def run() -> list[type[Exception]]:
        errors: list[type[Exception]] = []

        async def one(waiter: TaskWaiter) -> None:
            try:
                await waiter.wait(FRESH, 60.0)
            except DefapiError as error:
                errors.append(type(error))

        async with waiter_of(api) as waiter, anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(one, waiter)
        assert anyio.current_time() < 10.0
        return errors

    api = Refresher(errors=dict.fromkeys(range(100), last_error))
    assert virtually(run) == [type(last_error)] * 3
    assert len(api.queried_at) == MAX_REFUSALS


@pytest.mark.parametrize(
    "last_error", [KeyRefused("", status=401), KeyRefused("", status=403), TaskNotFound("", status=404)]
)
def test_a_refusal_of_a_task_of_another_program_ends_the_wait_at_once(last_error: DefapiError) -> None:
    async def run() -> None:
        async with waiter_of(api) as waiter:
            with pytest.raises(type(last_error)):
                await waiter.wait(Generation("in-1", "ta1"), 60.0)

    api = Refresher(errors=dict.fromkeys(range(100), last_error))
    virtually(run)
    assert len(api.queried_at) == 1


@pytest.mark.parametrize(
    "last_error",
    [
        KeyRefused("", status=403),
        OutOfCredits("", status=402),
        RequestRefused("", status=400),
    ],
)
def test_a_wait_for_a_task_of_this_server_survives_passing_gateway_errors(last_error: DefapiError) -> None:
    waited = waiting_for(Refresher(latency=30.0, errors=dict.fromkeys(range(4), last_error)))
    assert waited.generation.status is Status.SUCCESS


def test_an_error_of_one_wait_does_not_spoil_the_next() -> None:
    async def run() -> WaitResult:
        async with waiter_of(api) as waiter:
            with pytest.raises(KeyRefused):
                await waiter.wait(FRESH, 60.0)
            return await waiter.wait(FRESH, 60.0)

    api = Refresher(errors=dict.fromkeys(range(MAX_REFUSALS), KeyRefused("no", status=401)))
    assert virtually(run).generation.status is Status.SUCCESS


def test_a_defect_while_asking_reaches_the_waiter_and_not_the_whole_server() -> None:
    async def run() -> None:
        async with waiter_of(api) as waiter:
            with pytest.raises(ZeroDivisionError):
                await waiter.wait(FRESH, 60.0)
            await waiter.wait(FRESH, 60.0)

    api = Refresher(errors={0: ZeroDivisionError()})
    virtually(run)


def test_the_loop_ends_with_the_last_wait() -> None:
    async def run() -> None:
        async with waiter_of(api) as waiter:
            with anyio.move_on_after(5.0):
                await waiter.wait(FRESH, 60.0)
            queries = len(api.queried_at)
            await anyio.sleep(100.0)
            assert len(api.queried_at) == queries

    api = Refresher(latency=500.0)
    virtually(run)


def test_a_cancelled_wait_leaves_the_others_waiting() -> None:
    async def run() -> None:
        async def impatient(waiter: TaskWaiter) -> None:
            with anyio.move_on_after(3.0):
                await waiter.wait(FRESH, 60.0)

        async with waiter_of(api) as waiter, anyio.create_task_group() as group:
            group.start_soon(impatient, waiter)
            assert (await waiter.wait(FRESH, 60.0)).generation.finished

    api = Refresher()
    virtually(run)


def test_progress_is_reported_at_the_start_at_each_change_and_every_few_seconds() -> None:
    reports: list[tuple[Status, float]] = []

    async def report(generation: GenerationOrBatch, waited: float) -> None:
        reports.append((generation.status, waited))

    async def run() -> None:
        async with waiter_of(Refresher(latency=20.0)) as waiter:
            await waiter.wait(FRESH, 60.0, report)

    virtually(run)
    assert reports[0] == (Status.PENDING, 0.0)
    assert reports[1][0] is Status.IN_PROGRESS
    times = [waited for _, waited in reports]
    assert times == sorted(times)
    assert all(later - earlier <= REPORT_INTERVAL_SECONDS + 0.01 for earlier, later in pairwise(times))


def test_a_state_reported_from_outside_ends_the_wait_at_once() -> None:
    async def run() -> None:
        async with waiter_of(api) as waiter, anyio.create_task_group() as group:

            async def tell() -> None:
                await anyio.sleep(0.5)
                waiter.on_change(replace(FRESH, status=Status.SUCCESS))

            group.start_soon(tell)
            waited = await waiter.wait(FRESH, 60.0)
            assert waited.generation.finished
            assert anyio.current_time() == pytest.approx(0.5)

    api = Refresher(latency=500.0)
    virtually(run)
    assert api.queried_at == []


def test_an_unknown_outcome_that_is_settled_meanwhile_is_asked_for_at_the_pace_of_any_other() -> None:
    class Settled(Refresher):
        async def refresh(self, task: Generation) -> Generation:
            refreshed = await super().refresh(task)
            return replace(refreshed, task_id="ta1", submitted_at=0.0) if anyio.current_time() > 3.0 else task

    api = Settled(latency=30.0)
    waited = waiting_for(api, task=Generation("in-1"))
    assert waited.generation.status is Status.SUCCESS
    assert len(api.queried_at) < 25


@pytest.mark.slow
def test_three_hundred_waits_at_once_all_end() -> None:
    async def run() -> int:
        ended = 0

        async def one(waiter: TaskWaiter, number: int) -> None:
            nonlocal ended
            await waiter.wait(Generation(f"in-{number}", f"ta{number}", Status.PENDING, submitted_at=0.0), 60.0)
            ended += 1

        async with waiter_of(api) as waiter, anyio.create_task_group() as group:
            for number in range(300):
                group.start_soon(one, waiter, number)
        return ended

    api = Refresher(latency=30.0)
    assert virtually(run) == 300


def test_a_waiter_is_found_by_the_task_id_and_by_the_generation_id() -> None:
    async def run() -> None:
        async with waiter_of(api) as waiter, anyio.create_task_group() as group:
            group.start_soon(waiter.wait, FRESH, 60.0)
            group.start_soon(waiter.wait, Generation("in-2"), 60.0)
            await anyio.sleep(0.1)
            assert waiter.has_waiter(FRESH)
            assert waiter.has_waiter(Generation("in-2", "ta2", submitted_at=1.0))
            assert not waiter.has_waiter(Generation("in-3", "ta9"))
            assert not waiter.has_waiter(Generation("in-9", "ta9"))
            group.cancel_scope.cancel()

    api = Refresher(latency=500.0)
    virtually(run)


def test_a_change_of_state_is_reported_when_it_is_seen_and_the_time_is_that_of_this_wait() -> None:
    reports: list[tuple[Status, float, float]] = []

    async def report(generation: GenerationOrBatch, waited: float) -> None:
        reports.append((generation.status, waited, anyio.current_time()))

    async def run() -> None:
        await anyio.sleep(100.0)
        task = replace(FRESH, submitted_at=100.0)
        async with waiter_of(Refresher(latency=500.0)) as waiter:
            await waiter.wait(task, 9.9, report)

    virtually(run)
    assert [at - 100.0 for _, _, at in reports] == pytest.approx([waited for _, waited, _ in reports])
    assert [status for status, _, _ in reports][:2] == [Status.PENDING, Status.IN_PROGRESS]
    assert [waited for _, waited, _ in reports] == pytest.approx([0.0, 2.25, 5.25, 8.25])


def test_an_answer_ends_the_row_of_failures() -> None:
    api = Refresher(latency=500.0, errors=dict.fromkeys([0, 1, 3], NoAnswer("gone")))
    waiting_for(api, timeout=20.0)
    pauses = [later - earlier - api.round_trip for earlier, later in pairwise(api.queried_at)]
    assert pauses[1] >= 2.0  # after two failures
    assert pauses[3] < 2.0  # after one


@pytest.mark.parametrize("off", [-4e8, -3_600.0, 3_600.0, 4e8])
def test_a_wait_ends_soon_after_the_image_is_ready_though_the_clock_was_put_back_or_forward(off: float) -> None:
    async def run() -> float:
        async with waiter_of(api, lambda: anyio.current_time() + off) as waiter:
            assert (await waiter.wait(FRESH, 240.0)).generation.status is Status.SUCCESS
            return anyio.current_time()

    api = Refresher(latency=12.0)
    assert virtually(run) - 12.0 <= Schedule().max_interval + 0.5


def test_a_task_of_another_program_is_queried_at_once_and_then_less_and_less_often() -> None:
    async def run() -> None:
        await anyio.sleep(100.0)  # the server has run for a while
        async with waiter_of(api) as waiter:
            await waiter.wait(Generation("in-1", "ta1", Status.PENDING), 60.0)

    api = Refresher(latency=500.0)
    virtually(run)
    pauses = [later - earlier for earlier, later in pairwise(api.queried_at)]
    assert api.queried_at[0] == 100.0
    assert pauses[0] < 2.5
    assert pauses[-1] > pauses[0]


def test_a_task_that_was_queried_a_moment_before_the_wait_is_not_queried_at_once() -> None:
    async def run() -> None:
        async with waiter_of(api) as waiter:
            await anyio.sleep(30.0)
            api.last_query_at["in-1"] = anyio.current_time()
            await waiter.wait(FRESH, 2.0)
            assert api.queried_at == []
            await waiter.wait(FRESH, 2.0)
            assert api.queried_at == [33.0]

    api = Refresher(latency=500.0)
    virtually(run)


def trusted_callbacks() -> CallbackTracker:
    callbacks = CallbackTracker(lambda generation_id: f"https://e.org/{generation_id}")
    callbacks.received(Generation("in-other", "ta-other", Status.SUCCESS))
    return callbacks


def test_with_trusted_callbacks_only_safety_queries_are_sent_at_random_distances() -> None:
    async def run() -> None:
        async with waiter_of(api, callbacks=trusted_callbacks()) as waiter:
            await waiter.wait(replace(FRESH, expects_callback=True), 900.0)

    api = Refresher(latency=5_000.0)
    virtually(run)
    pauses = [later - earlier for earlier, later in pairwise([0.0, *api.queried_at])]
    assert all(12.0 <= pause <= 18.5 for pause in pauses)
    assert min(pauses) < 14.0
    assert max(pauses) > 16.0


def test_polls_with_trusted_callbacks_send_only_safety_queries() -> None:
    async def run() -> None:
        async with waiter_of(api, callbacks=trusted_callbacks()) as waiter:
            while anyio.current_time() < 50.0:
                await waiter.poll(replace(FRESH, expects_callback=True))
                await anyio.sleep(0.25)

    api = Refresher(latency=500.0)
    virtually(run)
    assert api.queried_at == [14.5, 29.25, 44.0]


def test_a_wait_goes_back_to_polling_when_callbacks_are_no_longer_trusted() -> None:
    async def run() -> None:
        callbacks = trusted_callbacks()
        async with waiter_of(api, callbacks=callbacks) as waiter, anyio.create_task_group() as group:
            group.start_soon(waiter.wait, replace(FRESH, expects_callback=True), 60.0)
            await anyio.sleep(7.0)
            assert api.queried_at == []
            for _ in range(3):
                callbacks.missed()
            await anyio.sleep(Schedule().review)
            assert len(api.queried_at) == 1
            group.cancel_scope.cancel()

    api = Refresher(latency=500.0)
    virtually(run)


def test_polls_query_as_the_schedule_says_however_many_clients_poll() -> None:
    async def run() -> float:
        async with waiter_of(api) as waiter:

            async def poll_until_the_end() -> None:
                state = await waiter.poll(FRESH)
                while not state.generation.finished:
                    await anyio.sleep(0.1)
                    state = await waiter.poll(FRESH)

            async with anyio.create_task_group() as clients:
                for _ in range(20):
                    clients.start_soon(poll_until_the_end)
            return anyio.current_time()

    api = Refresher(latency=12.0)
    assert virtually(run) <= 12.0 + Schedule().poll_interval(12.0) + api.round_trip
    assert len(api.queried_at) <= 25
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(api.queried_at))


@pytest.mark.parametrize("came_at", [1.25, 1.5])
def test_a_poll_that_comes_half_a_second_early_is_answered_as_if_in_time(came_at: float) -> None:
    async def run() -> None:
        async with waiter_of(api) as waiter:
            await anyio.sleep(came_at)
            await waiter.poll(FRESH)

    api = Refresher()
    virtually(run)
    assert api.queried_at == ([1.5] if came_at == 1.5 else [])


@pytest.mark.parametrize("task", [FRESH, Generation("in-1", "ta1")])
def test_the_poll_interval_of_a_client_ends_when_the_first_query_is_due(task: Generation) -> None:
    async def run() -> float:
        async with waiter_of(Refresher()) as waiter:
            return waiter.poll_interval(task)

    assert virtually(run) == 2.0


@pytest.mark.parametrize("task", [Generation("in-1"), replace(FRESH, status=Status.FAILED)])
def test_a_poll_of_an_unaccepted_or_finished_generation_costs_no_query(task: Generation) -> None:
    async def run() -> WaitResult:
        async with waiter_of(api) as waiter:
            await anyio.sleep(10.0)
            return await waiter.poll(task)

    api = Refresher()
    assert virtually(run) == WaitResult(task)
    assert api.queried_at == []


def test_a_failed_query_is_reported_to_who_polls_until_one_succeeds() -> None:
    async def run() -> list[WaitResult]:
        async with waiter_of(api) as waiter:
            states = []
            for _ in range(2):
                await anyio.sleep(5.0)
                states.append(await waiter.poll(FRESH))
            return states

    last_error = NoAnswer("gone")
    api = Refresher(latency=500.0, errors={0: last_error})
    assert virtually(run) == [WaitResult(FRESH, last_error), WaitResult(replace(FRESH, status=Status.IN_PROGRESS))]


def test_the_failures_of_the_tasks_that_were_polled_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with waiter_of(api) as waiter:
            await anyio.sleep(5.0)
            first, second, third = others(1), others(2), others(3)
            assert (await waiter.poll(first)).last_error is last_error
            await waiter.poll(second)
            assert (await waiter.poll(first)).last_error is last_error
            await waiter.poll(third)
            assert (await waiter.poll(first)).last_error is last_error
            await waiter.poll(second)
            await waiter.poll(third)
            assert (await waiter.poll(first)).last_error is None

    monkeypatch.setattr("nano_banana_mcp.tracking.waiter.MAX_POLLED_TASKS", 2)
    last_error = NoAnswer("gone")
    api = Refresher(latency=500.0, errors={0: last_error})
    api.round_trip = 0.0  # the first task is not due again
    virtually(run)


def test_a_client_that_polls_at_the_given_interval_sees_the_end_within_one_interval() -> None:
    async def run() -> float:
        async with waiter_of(api) as waiter:
            while not (await waiter.poll(FRESH)).generation.finished:
                await anyio.sleep(waiter.poll_interval(FRESH))
            return anyio.current_time()

    for latency in (0.5, 3.3, 31.7, 200.0):
        api = Refresher(latency=latency)
        assert virtually(run) - latency <= Schedule().poll_interval(latency) + 2 * api.round_trip


def test_a_poll_does_not_wait_for_a_slow_query_and_a_later_one_has_its_answer() -> None:
    async def run() -> None:
        async with waiter_of(api) as waiter:
            await anyio.sleep(10)
            began = anyio.current_time()
            assert not (await waiter.poll(FRESH)).generation.finished
            assert anyio.current_time() - began == pytest.approx(MAX_POLL_SECONDS)
            await anyio.sleep(api.round_trip)
            assert (await waiter.poll(FRESH)).generation.finished

    api = Refresher(latency=5.0)
    api.round_trip = 20.0
    virtually(run)
    assert len(api.queried_at) == 1


def test_a_polled_task_is_given_up_after_some_refusals_and_goes_on_once_a_query_succeeds() -> None:
    async def run() -> list[bool]:
        async with waiter_of(api) as waiter:
            given_up = []
            while not (state := await waiter.poll(FRESH)).generation.finished:
                given_up.append(state.given_up)
                await anyio.sleep(1.0)
            return given_up

    refused = KeyRefused("no", status=401)
    api = Refresher(latency=1.0, errors=dict.fromkeys(range(MAX_REFUSALS + 1), refused))
    given_up = virtually(run)
    assert given_up[0] is False
    assert given_up[-1] is True


def test_a_poll_beside_a_wait_leaves_the_queries_to_it() -> None:
    async def run() -> None:
        async with waiter_of(api) as waiter, anyio.create_task_group() as calls:
            calls.start_soon(waiter.wait, FRESH, 30.0)
            await anyio.sleep(3.0)
            assert await waiter.poll(FRESH) == WaitResult(FRESH, last_error)
            for _ in range(17):
                await anyio.sleep(1.0)
                await waiter.poll(FRESH)

    last_error = NoAnswer("gone")
    waited, polled = (
        Refresher(latency=19.0, errors={0: last_error}),
        (api := Refresher(latency=19.0, errors={0: last_error})),
    )
    waiting_for(waited, timeout=30.0)
    virtually(run)
    assert polled.queried_at == waited.queried_at
