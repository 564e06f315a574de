"""The caller goes away: what is under way is finished and recorded, what is not is not begun."""

from functools import partial

import anyio
import pytest

from nano_banana_mcp.defapi import retry
from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import Busy, DefapiError, NotSent, OutcomeUnknown
from tests.support.fault_server import Step, fault_server
from tests.support.faults import held, never_answer, reply
from tests.unit.defapi.driver import KEY, REQUEST, TAKEN, TASK, Told, client_of, virtually


class Caller:
    """Calls ``submit`` in a scope of its own and writes down what came of it."""

    def __init__(self) -> None:
        self._scope: anyio.CancelScope | None = None
        self.told: list[str | DefapiError] = []
        self.returned: str | None = None
        self.raised: DefapiError | None = None

    @property
    def scope(self) -> anyio.CancelScope:
        # Made late: it belongs to the running event loop.
        self._scope = self._scope or anyio.CancelScope()
        return self._scope

    async def settle(self, outcome: str | DefapiError) -> None:
        await anyio.sleep(0)  # a ledger takes a moment, and is shielded too
        self.told.append(outcome)

    async def call(self, url: str, timeout: float = 5.0) -> None:
        async with client_of(url, timeout) as client:
            with self.scope:
                try:
                    self.returned = await client.submit(REQUEST, Told(self.settle))
                except DefapiError as error:
                    self.raised = error


@pytest.fixture
def caller() -> Caller:
    return Caller()


async def cancelled_under_way(caller: Caller, step: Step, release: anyio.Event, timeout: float = 5.0) -> int:
    """Cancel the caller once its POST has arrived; the number of POSTs in the end."""
    with anyio.fail_after(5):
        async with fault_server([step, reply(200, TAKEN)]) as server:
            async with anyio.create_task_group() as group:
                group.start_soon(caller.call, server.url, timeout)
                await server.arrived()
                caller.scope.cancel()
                release.set()
            return server.posts


async def test_a_post_under_way_is_finished_and_its_id_recorded(caller: Caller) -> None:
    release = anyio.Event()
    assert await cancelled_under_way(caller, held(release, 200, TAKEN), release) == 1
    assert caller.told == [TASK]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_post_under_way_that_is_refused_for_now_is_not_repeated(caller: Caller, status: int) -> None:
    release = anyio.Event()
    assert await cancelled_under_way(caller, held(release, status), release) == 1
    assert [type(outcome) for outcome in caller.told] == [Busy]
    assert caller.scope.cancelled_caught
    assert caller.returned is None


async def test_a_post_under_way_that_stays_unanswered_ends_at_its_deadline(caller: Caller) -> None:
    assert await cancelled_under_way(caller, never_answer(), anyio.Event(), timeout=0.15) == 1
    assert [type(outcome) for outcome in caller.told] == [OutcomeUnknown]


async def test_a_caller_cancelled_before_the_post_pays_nothing(caller: Caller) -> None:
    caller.scope.cancel()
    async with fault_server(reply(200, TAKEN)) as server:
        await caller.call(server.url)
    assert caller.scope.cancelled_caught
    assert server.connections == 0
    assert caller.told == []


async def test_a_caller_cancelled_while_settling_has_a_record_all_the_same(caller: Caller) -> None:
    recorded: list[str | DefapiError] = []

    async def settle(outcome: str | DefapiError) -> None:
        caller.scope.cancel()
        await anyio.sleep(0.01)  # reached by a cancellation if anything could be
        recorded.append(outcome)

    async with fault_server(reply(200, TAKEN)) as server, client_of(server.url) as client:
        with caller.scope:
            await client.submit(REQUEST, Told(settle))
    assert recorded == [TASK]


async def test_whoever_closes_can_wait_until_every_paid_attempt_is_recorded(caller: Caller) -> None:
    release, closed = anyio.Event(), anyio.Event()
    order: list[str] = []

    async def close(client: DefapiClient) -> None:
        await client.settled()
        order.append("closed")
        closed.set()

    async def settle(outcome: str | DefapiError) -> None:
        await anyio.sleep(0)
        order.append("recorded")

    with anyio.fail_after(5):
        async with (
            fault_server(held(release, 200, TAKEN)) as server,
            client_of(server.url) as client,
            anyio.create_task_group() as group,
        ):
            await client.settled()  # nothing to wait for yet
            group.start_soon(partial(client.submit, REQUEST, Told(settle)))
            await server.arrived()
            group.start_soon(close, client)
            await anyio.wait_all_tasks_blocked()
            release.set()
            await closed.wait()
    assert order == ["recorded", "closed"]


@pytest.mark.usefixtures("real_pauses")
def test_a_caller_cancelled_in_the_pause_between_attempts_sends_no_more(caller: Caller) -> None:
    async def run() -> None:
        async with fault_server([reply(429, headers={"Retry-After": "30"}), reply(200, TAKEN)]) as server:
            caller.scope.deadline = anyio.current_time() + 10
            await caller.call(server.url)
            await anyio.sleep(120)
        assert caller.scope.cancelled_caught
        assert server.posts == 1

    virtually(run)
    assert [type(outcome) for outcome in caller.told] == [Busy]


@pytest.mark.usefixtures("real_pauses")
def test_the_pause_is_at_least_what_the_api_asked_for_and_the_attempts_end(caller: Caller) -> None:
    async def run() -> None:
        async with fault_server(reply(429, headers={"Retry-After": "30"})) as server:
            started = anyio.current_time()
            await caller.call(server.url)
            took = anyio.current_time() - started
        assert isinstance(caller.raised, Busy)
        assert 60.0 <= took <= 60.0 + 1 + 2 + 0.5
        assert server.posts == retry.ATTEMPTS == 3

    virtually(run)


@pytest.mark.usefixtures("real_pauses")
def test_without_a_wish_of_the_api_the_pauses_are_short(caller: Caller) -> None:
    async def run() -> None:
        async with fault_server(reply(500)) as server:
            started = anyio.current_time()
            await caller.call(server.url)
            assert anyio.current_time() - started <= 1 + 2 + 0.5
        assert isinstance(caller.raised, Busy)
        assert server.posts == 3

    virtually(run)


@pytest.mark.usefixtures("real_pauses")
def test_the_log_of_a_repeat_holds_neither_key_nor_prompt(caplog: pytest.LogCaptureFixture, caller: Caller) -> None:
    caplog.set_level("DEBUG")
    said = {"detail": f"cannot draw “{REQUEST.prompt}”"}

    async def run() -> None:
        async with fault_server([reply(500, said), reply(200, TAKEN)]) as server:
            await caller.call(server.url)

    virtually(run)
    assert caller.returned == TASK
    logged = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "stamina.retry_scheduled" in logged
    assert KEY not in logged
    assert REQUEST.prompt not in logged


async def test_a_drain_ends_the_pause_between_attempts_with_the_last_error() -> None:
    paused = anyio.Event()

    async def settle(outcome: str | DefapiError) -> None:
        assert isinstance(outcome, Busy)
        paused.set()

    busy = reply(503, b"", {"Retry-After": "50"})
    async with fault_server([busy, reply(200, TAKEN)]) as server, client_of(server.url) as client:
        async with anyio.create_task_group() as group:

            async def drain() -> None:
                await paused.wait()
                client.drain()

            group.start_soon(drain)
            with anyio.fail_after(5), pytest.raises(Busy):
                await client.submit(REQUEST, Told(settle))
        with pytest.raises(NotSent, match="about to end"):
            await client.submit(REQUEST)
        assert server.posts == 1


async def test_a_drain_lets_a_post_under_way_bring_its_id() -> None:
    release = anyio.Event()
    ids: list[str] = []
    async with fault_server(held(release, 200, TAKEN)) as server, client_of(server.url) as client:

        async def submit() -> None:
            ids.append(await client.submit(REQUEST))

        async with anyio.create_task_group() as group:
            group.start_soon(submit)
            await server.arrived()
            client.drain()
            release.set()
    assert ids == [TASK]
