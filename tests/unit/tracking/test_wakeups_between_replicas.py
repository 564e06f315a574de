"""Several replicas on one database: one queries a task, the others are notified of its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio

from nano_banana_mcp.app import open_service
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_mcp.settings import load_settings
from nano_banana_sandbox.sandbox import Sandbox
from tests.support.clients import KEY, NEVER_SECONDS, WITHOUT_QUERIES
from tests.support.generations import only
from tests.support.postgres import Cluster
from tests.support.sandbox import plain_sandbox


@asynccontextmanager
async def services(
    database: str, number: int = 2, seconds: float = NEVER_SECONDS
) -> AsyncIterator[tuple[Sandbox, list[GenerationService]]]:
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(plain_sandbox(seconds=seconds))
        settings = load_settings(base_url=sandbox.url, api_key=KEY, ledger_url=database)
        yield (
            sandbox,
            [await stack.enter_async_context(open_service(settings, schedule=WITHOUT_QUERIES)) for _ in range(number)],
        )


async def make(service: GenerationService) -> Generation:
    return only((await service.generate(SubmitRequest(model="m", prompt="a cat"))).generation)


def end(sandbox: Sandbox) -> None:
    for task in sandbox.tasks:
        task.born -= 2 * NEVER_SECONDS


class Wait:
    """A wait under way at one replica, and how it ended."""

    def __init__(self, service: GenerationService, generation: Generation) -> None:
        self._service = service
        self._generation = generation
        self.under_way = anyio.Event()
        self.status: Status | None = None

    async def run(self) -> None:
        async def report(_: object, __: float) -> None:
            self.under_way.set()

        self.status = (await self._service.wait(self._generation.public_id, NEVER_SECONDS, report)).generation.status


async def listening(postgres: Cluster, database: str, number: int) -> list[int]:
    """The listeners' processes, once that number of new ones is there."""
    with postgres.connect(database) as db, anyio.fail_after(60):
        while True:
            rows = db.execute(
                "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
            ).fetchall()
            if len(rows) == number:
                return [row[0] for row in rows]
            await anyio.sleep(0)


def cut(postgres: Cluster, database: str, processes: list[int]) -> None:
    with postgres.connect(database) as db:
        for process in processes:
            assert db.execute("SELECT pg_terminate_backend(%s, 5000)", [process]).fetchone() == (True,)


async def test_an_end_that_one_replica_notices_wakes_a_wait_at_another(postgres: Cluster, database: str) -> None:
    async with services(database) as (sandbox, [a, b]):
        await listening(postgres, database, 2)
        generation = await make(a)
        wait = Wait(b, generation)
        with anyio.fail_after(240):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait.run)
                await wait.under_way.wait()
                end(sandbox)
                await a.get(generation.public_id)
        assert wait.status is Status.SUCCESS
        assert sandbox.stats.queries == 1
