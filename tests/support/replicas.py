"""Three servers on one PostgreSQL, and one that is killed under load."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync as in_thread
from mcp.client import Client

from nano_banana_mcp.ledger.postgres import CHANNEL
from nano_banana_mcp.tracking.schedule import Schedule
from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.sandbox import Sandbox
from nano_banana_sandbox.server import serve_sandbox
from nano_banana_sandbox.tasks import Task
from tests.support.clients import facts
from tests.support.http_server import Served, ServedProcess, at, free_port, make, served, served_process
from tests.support.postgres import Cluster
from tests.support.sandbox import plain_config

DOOMED = 8
"""Calls that wait at the replica that is killed."""


@dataclass
class Replica:
    """A server, and a client of it."""

    server: Served
    client: Client

    async def wait(self, task_id: str, seconds: int = 240) -> dict[str, Any]:
        arguments = {"task_id": task_id, "timeout_seconds": seconds}
        return facts(await self.client.call_tool("wait_for_image", arguments))


@asynccontextmanager
async def three(
    database: str, config: SandboxConfig, schedule: Schedule | None = None, processes: int = 0
) -> AsyncIterator[tuple[Sandbox, list[Replica]]]:
    """Three replicas. All callbacks reach the second one: the load balancer's choice.

    Args:
        database: URL of the ledger.
        config: Of the sandbox.
        schedule: When the API is queried, by servers in this process; None: as in server processes.
        processes: Number of replicas that are processes of their own.
    """
    port = free_port()
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(serve_sandbox(config))
        settings = at(sandbox.url, NANO_BANANA_LEDGER_URL=database, NANO_BANANA_PUBLIC_URL=f"http://127.0.0.1:{port}")
        replicas = []
        for number, own in enumerate(("0", str(port), "0")):
            if number < processes:
                server: Served = stack.enter_context(served_process("--port", own, **settings))
            else:
                server = await stack.enter_async_context(served("--port", own, schedule=schedule, **settings))
            client = await stack.enter_async_context(Client(server.url))
            replicas.append(Replica(server, client))
        yield sandbox, replicas


def lag(task: Task) -> float:
    """Seconds since the task's end."""
    return time.monotonic() - task.born - task.directives.seconds


def all_ended(postgres: Cluster, database: str) -> list[tuple[Any, ...]]:
    """Task id and end of all in the ledger, once all have ended."""
    with postgres.connect(database) as db:
        db.execute(f"LISTEN {CHANNEL}".encode())
        while True:
            rows = db.execute("SELECT task_id, finished_at FROM generations").fetchall()
            if all(finished_at for _, finished_at in rows):
                return rows
            for _ in db.notifies(timeout=60, stop_after=1):
                pass


@dataclass(frozen=True)
class Killed:
    """How a kill under load ended.

    Attributes:
        lags: Seconds from the end of each picture that is waited for to the answer.
        submits_by_prompt: How often each was posted.
        made: Task ids that the API has given; ``finished`` those of rows that have an end.
        rows: All of the ledger.
    """

    lags: list[float]
    submits_by_prompt: dict[str, int]
    made: list[str]
    finished: list[str]
    rows: int


async def killed_under_load(postgres: Cluster, database: str) -> Killed:
    """Three replicas under load, one of which is killed in the middle of submits and waits."""
    async with three(database, plain_config(seconds=6.0), processes=1) as (sandbox, [a, b, c]):
        seen: list[float] = []
        doomed_ids: list[str] = []
        all_doomed_answered = anyio.Event()

        async def wait(replica: Replica, task_id: str) -> None:
            done = await replica.wait(task_id)
            task = sandbox.store.find(task_id)
            assert task is not None
            assert done["status"] == "success"
            seen.append(lag(task))

        async def doomed(client: Client, number: int) -> None:
            task_id = await make(client, f"doomed {number} sandbox:callback=lost")
            group.start_soon(wait, c, task_id)
            doomed_ids.append(task_id)
            if len(doomed_ids) == DOOMED:
                all_doomed_answered.set()
            await client.call_tool("wait_for_image", {"task_id": task_id, "timeout_seconds": 240})

        async def use(server: Served) -> None:
            async with Client(server.url) as client, anyio.create_task_group() as calls:
                for number in range(DOOMED):
                    calls.start_soon(doomed, client, number)
                for number in range(4):  # it is killed in the middle of these submits
                    calls.start_soon(make, client, f"cut {number} sandbox:submit=drip")

        async def use_until_it_is_killed(server: Served) -> None:
            with pytest.raises(BaseExceptionGroup):  # the client goes down with its server
                await use(server)

        async def load(replica: Replica, name: str, count: int) -> None:
            for number in range(count):
                group.start_soon(wait, replica, await make(replica.client, f"{name} {number}"))

        assert isinstance(a.server, ServedProcess)
        async with anyio.create_task_group() as group:
            group.start_soon(use_until_it_is_killed, a.server)
            group.start_soon(load, b, "b", 8)
            group.start_soon(load, c, "c", 8)
            with anyio.fail_after(240):
                await all_doomed_answered.wait()
                await sandbox.until(lambda stats: stats.charged >= 28 and stats.queries >= 8)
            a.server.process.kill()
            await in_thread(a.server.process.wait)
        # The cut ones have no id in the ledger; their callbacks settle them.
        with anyio.fail_after(240):
            rows = await in_thread(all_ended, postgres, database)
        return Killed(
            seen,
            dict(sandbox.stats.submits_by_prompt),
            sorted(task.id for task in sandbox.tasks),
            sorted(row[0] for row in rows),
            len(rows),
        )
