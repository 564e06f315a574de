"""The rate limit of queries that all calls share."""

from __future__ import annotations

import anyio
import pytest
from pydantic import SecretStr

from nano_banana_mcp.defapi import transport as connection
from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.transport import BURST_SECONDS, QueryRateLimit
from tests.support.defapi_calls import KEY, TASK, virtually
from tests.support.fault_server import fault_server
from tests.support.faults import never_answer, reply

PENDING = {"code": 0, "message": "ok", "data": {"task_id": TASK, "status": "pending"}}


async def _spend_the_burst(rate_limit: QueryRateLimit, per_second: int) -> None:
    for _ in range(round(BURST_SECONDS * per_second)):
        await rate_limit.take()


def test_queries_are_spread_after_a_burst_and_served_in_the_order_they_came() -> None:
    async def run() -> None:
        rate_limit, began, came = QueryRateLimit(2), anyio.current_time(), []

        async def one(number: int) -> None:
            await rate_limit.take()
            came.append((number, anyio.current_time() - began))

        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(one, number)
                await anyio.wait_all_tasks_blocked()
        assert [number for number, _ in came] == list(range(12))
        assert [round(after, 3) for _, after in came] == [0.0] * 8 + [0.5, 1.0, 1.5, 2.0]

    virtually(run)


def test_a_query_that_is_cancelled_in_line_gives_its_turn_to_the_next() -> None:
    async def run() -> None:
        rate_limit = QueryRateLimit(2)
        await _spend_the_burst(rate_limit, 2)
        async with anyio.create_task_group() as gone:
            for _ in range(50):
                gone.start_soon(rate_limit.take)
            await anyio.sleep(0.25)
            gone.cancel_scope.cancel()
        began = anyio.current_time()
        await rate_limit.take()
        assert anyio.current_time() - began == 0.25

    virtually(run)


async def test_a_query_that_is_cancelled_before_it_is_sent_spends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BURST_SECONDS", 2_000.0)  # two queries, and a third after a quarter of an hour
    async with fault_server([never_answer(), reply(200, PENDING)]) as server:
        client = DefapiClient(server.url, SecretStr(KEY), concurrency=1, queries_per_second=0.001)
        async with anyio.create_task_group() as first:
            first.start_soon(lambda: client.query(TASK))
            await server.arrived()
            async with anyio.create_task_group() as second:
                second.start_soon(lambda: client.query(TASK))
                await anyio.wait_all_tasks_blocked()
                second.cancel_scope.cancel()
            first.cancel_scope.cancel()
        with anyio.fail_after(30):
            assert (await client.query(TASK)).status == "pending"
        await client.aclose()
