"""The caller of a submit goes away: a POST under way is finished, one that has not begun is not sent."""

from __future__ import annotations

import anyio
import pytest

from nano_banana_mcp.defapi.errors import DefapiError, OutcomeUnknown
from tests.support.defapi_calls import MAX_TEST_SECONDS, REQUEST, TAKEN, TASK, client_of, virtually
from tests.support.fault_server import Step, fault_server
from tests.support.faults import held, never_answer, reply


async def cancelled_under_way(
    step: Step, release: anyio.Event, timeout: float = MAX_TEST_SECONDS
) -> tuple[int, list[object]]:
    """Cancel the caller once its POST has arrived. Returns the number of POSTs, and how the submit ended."""
    ends: list[object] = []
    scope = anyio.CancelScope()

    async def call(url: str) -> None:
        async with client_of(url, timeout) as client:
            with scope:
                try:
                    ends.append(await client.submit(REQUEST))
                except DefapiError as error:
                    ends.append(type(error))

    with anyio.fail_after(60):
        async with fault_server([step, reply(200, TAKEN)]) as server:
            async with anyio.create_task_group() as group:
                group.start_soon(call, server.url)
                await server.arrived()
                scope.cancel()
                release.set()
            return server.posts, ends


async def test_a_post_under_way_is_finished_and_its_id_returned() -> None:
    release = anyio.Event()
    assert await cancelled_under_way(held(release, 200, TAKEN), release) == (1, [TASK])


def test_a_post_under_way_that_stays_unanswered_ends_at_its_deadline() -> None:
    async def run() -> None:
        assert await cancelled_under_way(never_answer(), anyio.Event(), timeout=5.0) == (1, [OutcomeUnknown])

    virtually(run)


async def test_a_caller_cancelled_before_the_post_sends_nothing() -> None:
    async with fault_server(reply(200, TAKEN)) as server, client_of(server.url) as client:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await client.submit(REQUEST)
            pytest.fail("it was sent")
        assert server.connections == 0
