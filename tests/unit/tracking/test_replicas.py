"""Several studios on one database: one asks about a task, the others hear of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from nano_banana_mcp.app import open_service
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.ledger import notifications as shared
from nano_banana_mcp.ledger.notifications import SharedLedger
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_mcp.settings import load_settings
from nano_banana_mcp.tracking import sweeper as caretaker
from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.sandbox import Sandbox
from nano_banana_sandbox.server import serve_sandbox
from tests.support.clients import KEY
from tests.support.postgres import Cluster

NEVER = 3_600.0


@asynccontextmanager
async def services(
    database: str, number: int = 2, seconds: float = NEVER
) -> AsyncIterator[tuple[Sandbox, list[GenerationService]]]:
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(serve_sandbox(SandboxConfig(seconds=seconds)))
        settings = load_settings(base_url=sandbox.url, api_key=KEY, ledger_url=database)
        yield sandbox, [await stack.enter_async_context(open_service(settings)) for _ in range(number)]


async def make(service: GenerationService) -> Generation:
    return (await service.generate(SubmitRequest(model="m", prompt="a cat"))).generation


def end(sandbox: Sandbox) -> None:
    for task in sandbox.tasks:
        task.born -= 2 * NEVER


class Unhurried:
    """The pace of a studio that never asks, or reads, by itself."""

    def first(self) -> float:
        return NEVER

    def due_in(self, elapsed: float, since: float | None) -> float:
        return NEVER


@pytest.fixture
def only_wake_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait that is not woken does not end."""

    async def pace(_: GenerationService, __: Generation) -> Unhurried:
        return Unhurried()

    monkeypatch.setattr(GenerationService, "_pace", pace)


class Wait:
    """A wait under way at one studio, and how it ended."""

    def __init__(self, service: GenerationService, known: Generation) -> None:
        self._service = service
        self._known = known
        self.under_way = anyio.Event()
        self.status: Status | None = None

    async def run(self) -> None:
        async def report(_: Generation, __: float) -> None:
            self.under_way.set()

        self.status = (await self._service.wait(self._known.public_id, 60.0, report)).generation.status


async def listening(postgres: Cluster, database: str, number: int) -> list[int]:
    """The listeners' processes, once there are so many that were not there before."""
    with postgres.connect(database) as db, anyio.fail_after(20):
        while True:
            rows = db.execute("SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'").fetchall()
            if len(rows) == number:
                return [row[0] for row in rows]
            await anyio.sleep(0)


def cut(postgres: Cluster, database: str, processes: list[int]) -> None:
    with postgres.connect(database) as db:
        for process in processes:
            assert db.execute("SELECT pg_terminate_backend(%s, 5000)", [process]).fetchone() == (True,)


@pytest.mark.usefixtures("only_wake_ups")
async def test_an_end_that_one_sees_wakes_who_waits_at_another(postgres: Cluster, database: str) -> None:
    async with services(database) as (sandbox, [a, b]):
        await listening(postgres, database, 2)
        known = await make(a)
        wait = Wait(b, known)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait.run)
                await wait.under_way.wait()
                end(sandbox)
                await a.look(known.public_id)
        assert wait.status is Status.SUCCESS
        assert sandbox.stats.queries == 1


async def test_of_all_who_wait_one_asks(database: str) -> None:
    async def alone() -> int:
        async with services(database, 1, seconds=4.0) as (sandbox, [only]):
            await only.wait((await make(only)).public_id, 60.0)
            return sandbox.stats.queries

    async with services(database, 3, seconds=4.0) as (sandbox, three):
        known = await make(three[0])
        waits = [Wait(service, known) for service in three for _ in range(5)]
        async with anyio.create_task_group() as tasks:
            for wait in waits:
                tasks.start_soon(wait.run)
        assert {wait.status for wait in waits} == {Status.SUCCESS}
        assert sandbox.stats.queries <= await alone() + 1


async def test_who_stops_waiting_lets_another_ask(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caretaker, "TRY_AGAIN_SECONDS", 0.05)
    async with services(database) as (sandbox, [a, b]):
        known = await make(a)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(a.wait, known.public_id, 60.0)
                await sandbox.until(lambda stats: stats.queries == 1)
                assert not await b.ledger.lease(known.generation_id)
                tasks.cancel_scope.cancel()
            end(sandbox)
            assert (await b.wait(known.public_id, 60.0)).generation.status is Status.SUCCESS


@pytest.mark.usefixtures("only_wake_ups")
async def test_a_listener_that_returns_reads_what_it_missed(
    postgres: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "FIRST_PAUSE_SECONDS", 1.0)
    await a_wait_ends_though_its_listener_is_cut(postgres, database)


async def test_a_wait_ends_though_nobody_listens_any_more(
    postgres: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caretaker, "TRY_AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(shared, "FIRST_PAUSE_SECONDS", NEVER)
    await a_wait_ends_though_its_listener_is_cut(postgres, database)


async def a_wait_ends_though_its_listener_is_cut(postgres: Cluster, database: str) -> None:
    async with services(database) as (sandbox, [a, b]):
        listeners = await listening(postgres, database, 2)
        known = await make(a)
        assert await a.ledger.lease(known.generation_id)
        wait = Wait(b, known)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait.run)
                await wait.under_way.wait()
                end(sandbox)
                cut(postgres, database, listeners)
                await a.look(known.public_id)
        assert wait.status is Status.SUCCESS
        assert sandbox.stats.queries == 1


async def test_a_studio_that_ends_leaves_its_tasks_to_the_others_at_once(database: str) -> None:
    async with services(database, 1) as (_, [b]):
        async with services(database, 1) as (_, [a]):
            known = await make(a)
            assert await a.ledger.lease(known.generation_id)
            assert not await b.ledger.lease(known.generation_id)
        assert await b.ledger.lease(known.generation_id)


class CountingLedger(SharedLedger):
    """Counts what is read."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.found: Counter[str] = Counter()

    async def find(self, public_id: str) -> Generation | None:
        self.found[public_id] += 1
        return await super().find(public_id)


async def test_news_of_what_nobody_waits_for_here_costs_no_query(database: str) -> None:
    ledger = CountingLedger(database)
    told: list[Generation] = []

    async def ask(known: Generation) -> Generation:
        return known

    here = caretaker.Replicas(ledger, ask, told.append)
    known = await ledger.begin(Generation("in-1"))
    await here.changed_elsewhere("in-1")
    await here.changed_elsewhere(None)
    assert not ledger.found
    async with here.waited_for(known):
        ledger.found.clear()
        await here.changed_elsewhere("in-1")
        await here.changed_elsewhere("in-2")
        assert ledger.found == Counter({"in-1": 1})
    assert told == [known]
    await ledger.aclose()
