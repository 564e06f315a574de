"""The ledger in PostgreSQL: shared by replicas, sometimes away, and no request is paid twice because of it."""

from __future__ import annotations

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import anyio
import pytest
from anyio.to_thread import run_sync as in_thread

from nano_banana_mcp.generations.models import Status
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger import notifications, postgres_connection
from nano_banana_mcp.ledger.errors import LedgerBusy, LedgerError
from nano_banana_mcp.ledger.notifications import AsyncConnection, SharedLedger
from nano_banana_mcp.ledger.postgres import CHANNEL, PostgresLedger
from nano_banana_mcp.ledger.postgres_connection import MIGRATIONS, Database
from tests.support.clients import KEY, clean_environment
from tests.support.generations import new_generation, succeeded
from tests.support.postgres import PASSWORD, Cluster, Frozen
from tests.support.sandbox import plain_sandbox

pytestmark = pytest.mark.slow

PNG = EncodedImage(b"\x89PNG\r\n\x1a\n" + b"x" * 1_000, "image/png")

MAKE_ONE_EACH = """
import os, sys
import anyio
from nano_banana_mcp.app import open_service
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.quotas import LimitReached
from nano_banana_mcp.settings import load_settings

async def main(request_id):
    async with open_service(load_settings()) as service:
        await service.ledger.recent(1)
        os.write(ready, b".")
        await anyio.to_thread.run_sync(os.read, start, 1)
        try:
            waited = await service.generate(SubmitRequest(model="m", prompt="a cat"), request_id=request_id)
            outcome = waited.generation.task_id
        except LimitReached:
            outcome = "too-many"
        os.write(1, f"{outcome} ".encode())

import nano_banana_mcp.ledger.notifications
all_ready, ready = os.pipe()
start, started = os.pipe()
racers = []
for request_id in sys.argv[1:]:
    pid = os.fork()
    if pid == 0:
        os.close(started)
        anyio.run(main, request_id)
        os._exit(0)
    racers.append(pid)
for _ in racers:
    os.read(all_ready, 1)
os.close(started)
assert [os.waitpid(pid, 0)[1] for pid in racers] == [0] * len(racers)
"""


async def race(url: str, database: str, request_ids: list[str], **settings: str) -> list[str]:
    """What as many processes say that each make one picture, all at once."""
    environment = {
        **clean_environment(),
        "DEFAPI_BASE_URL": url,
        "DEFAPI_API_KEY": KEY,
        "NANO_BANANA_LEDGER_URL": database,
        **settings,
    }

    def run() -> list[str]:
        ended = subprocess.run(
            [sys.executable, "-c", MAKE_ONE_EACH, *request_ids],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.split()

    return await in_thread(run)


async def test_eight_processes_with_one_request_id_make_one_image(database: str) -> None:
    async with plain_sandbox(seconds=3600) as sandbox:
        outcomes = await race(sandbox.url, database, ["r-1"] * 8)
        assert sandbox.stats.submits == 1
        assert outcomes == [sandbox.tasks[0].id] * 8


async def test_of_two_processes_one_gets_the_last_open_task(database: str) -> None:
    async with plain_sandbox(seconds=3600) as sandbox:
        outcomes = await race(sandbox.url, database, ["r-1", "r-2"], NANO_BANANA_TOTAL_OPEN_TASKS="1")
        assert sandbox.stats.submits == 1
        assert sorted(outcomes) == sorted([sandbox.tasks[0].id, "too-many"])


def test_five_processes_create_one_ledger(database: str) -> None:
    with ThreadPoolExecutor(5) as threads:
        ledgers = list(threads.map(lambda _: PostgresLedger(Database(database)), range(5)))
    generation = ledgers[0].begin(new_generation())
    assert [ledger.find(generation.generation_id) for ledger in ledgers] == [generation] * 5
    assert ledgers[0].known_secret("key") is None
    assert {ledger.secret("key", str(number)) for number, ledger in enumerate(ledgers)} == {"0"}
    assert ledgers[1].known_secret("key") == "0"
    for ledger in ledgers:
        ledger.close()


def test_a_ledger_of_a_newer_version_is_refused_and_not_touched(postgres: Cluster, database: str) -> None:
    PostgresLedger(Database(database)).close()
    with postgres.connect(database) as db:
        db.execute("UPDATE version SET number = %s", [len(MIGRATIONS) + 1])
    with pytest.raises(LedgerError, match="newer version"):
        PostgresLedger(Database(database))


async def test_one_process_holds_the_sweep_lock_until_it_closes(database: str) -> None:
    first, second = SharedLedger(database), SharedLedger(database)
    assert await first.acquire_sweep_lock()
    assert await first.acquire_sweep_lock()
    assert not await second.acquire_sweep_lock()
    await first.aclose()
    with anyio.fail_after(60):
        while not await second.acquire_sweep_lock():  # the server releases it when it notices the closed connection
            await anyio.sleep(0.01)
    await second.aclose()


async def test_without_a_database_no_process_sweeps() -> None:
    ledger = SharedLedger(f"postgresql://nano:{PASSWORD}@127.0.0.1:9/db")
    assert not await ledger.acquire_sweep_lock()
    await ledger.aclose()


OLD_REPLICA_UPSERT = """
    INSERT INTO nano_banana.generations (intent_id, task_id, principal, status, images, expects_callback, created_at,
        submitted_at, finished_at)
    VALUES (%(id)s, %(task)s, '', %(status)s, '[]', FALSE, 100, 101, %(finished)s)
    ON CONFLICT (intent_id) DO UPDATE SET status = excluded.status, finished_at = excluded.finished_at
    WHERE generations.finished_at IS NULL AND (excluded.task_id IS NOT NULL OR generations.task_id IS NULL)
        AND (excluded.finished_at IS NOT NULL
            OR generations.lease_fence <= COALESCE(%(fence)s, generations.lease_fence))
    RETURNING pg_notify('nano_banana', %(payload)s)
"""
"""What a replica of version 0.1 runs to save a generation."""


async def test_an_old_and_a_new_replica_share_one_database(postgres: Cluster, database: str) -> None:
    """The old one takes leases and notifies; the new one ignores the leases, and both get the other's notifications."""
    ledger = SharedLedger(database)
    generation = (await ledger.begin(new_generation())).accepted("ta1", 101.0)
    await ledger.save(generation)
    changed: list[str | None] = []
    heard = anyio.Event()

    async def note(generation_id: str | None) -> None:
        changed.append(generation_id)
        if generation_id is None:
            await in_thread(old_replica_saves)
        else:
            heard.set()

    def old_replica_saves() -> None:
        with postgres.connect(database) as db:
            db.execute(
                "UPDATE generations SET lease_holder = 'old', lease_fence = lease_fence + 1 WHERE finished_at IS NULL"
            )
            values = {
                "id": generation.generation_id,
                "task": "ta1",
                "status": "in_progress",
                "finished": None,
                "fence": 1,
            }
            db.execute(
                OLD_REPLICA_UPSERT.encode(), {**values, "payload": f"0123456789abcdef {generation.generation_id}"}
            )

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ledger.follow, note)
            await heard.wait()
            tasks.cancel_scope.cancel()
    assert changed == [None, generation.generation_id]
    seen = await ledger.find("ta1")
    assert seen is not None
    assert seen.status is Status.IN_PROGRESS
    with postgres.connect(database) as db:
        db.execute(f"LISTEN {CHANNEL}".encode())
        await ledger.save(succeeded(seen))
        [notice] = await in_thread(lambda: list(db.notifies(timeout=60, stop_after=1)))
        sender, _, generation_id = notice.payload.partition(" ")  # as version 0.1 reads it
        assert (len(sender), generation_id) == (16, generation.generation_id)
        assert db.execute("SELECT lease_holder, lease_fence FROM generations").fetchall() == [("old", 1)]
    await ledger.aclose()


async def test_an_outage_loses_nothing_and_begins_nothing(
    frail_postgres: Cluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connection, "AWAY_SECONDS", 0.0)
    monkeypatch.setattr(postgres_connection, "CONNECT_SECONDS", 1)
    url = frail_postgres.create()
    ledger = SharedLedger(url)
    generation = await ledger.begin(new_generation(request_id="r-1"))
    refused = await ledger.begin(new_generation())
    frail_postgres.stop()
    accepted = generation.accepted("ta1", 101.0)
    await ledger.save(accepted)
    await ledger.forget(refused.generation_id)
    with pytest.raises(LedgerBusy):
        await ledger.begin(new_generation())
    with pytest.raises(LedgerBusy):
        await ledger.find("ta-of-another-replica")
    with pytest.raises(LedgerBusy):
        await ledger.find_request("r-2", "sandbox")
    assert await ledger.find("ta1") == accepted
    assert await ledger.find_request("r-1", "sandbox") == accepted
    done = succeeded(accepted)
    await ledger.save(done)
    assert await ledger.find("ta1") == done
    assert ledger.problem is not None
    assert PASSWORD not in ledger.problem + caplog.text
    frail_postgres.start()
    await ledger.begin(new_generation(prompt="after"))
    assert ledger.problem is None
    await ledger.aclose()
    database = PostgresLedger(Database(url))
    assert database.find("ta1") == done
    assert database.find(refused.generation_id) is None
    assert len(database.recent(10)) == 2
    database.close()


async def test_a_row_that_cannot_be_written_hinders_no_other(postgres: Cluster, database: str) -> None:
    ledger = SharedLedger(database)
    await ledger.begin(new_generation())
    with postgres.connect(database) as db:
        db.execute("ALTER TABLE generations ADD CHECK (prompt <> 'odd')")
    odd = new_generation(prompt="odd").accepted("ta1", 101.0)
    await ledger.save(odd)
    assert ledger.problem is not None
    other = (await ledger.begin(new_generation())).accepted("ta2", 101.0)
    await ledger.save(other)
    assert await ledger.find("ta1") == odd
    assert ledger.problem is not None
    with postgres.connect(database) as db:
        assert db.execute("SELECT task_id FROM generations WHERE task_id IS NOT NULL").fetchall() == [("ta2",)]
        db.execute("ALTER TABLE generations DROP CONSTRAINT generations_prompt_check")
    await ledger.save(replace(other, status=Status.IN_PROGRESS))
    assert ledger.problem is None
    with postgres.connect(database) as db:
        assert db.execute("SELECT count(*) FROM generations WHERE task_id IS NOT NULL").fetchall() == [(2,)]
    await ledger.aclose()


async def test_a_dead_idle_connection_is_replaced(postgres: Cluster, database: str) -> None:
    ledger = SharedLedger(database)
    await ledger.begin(new_generation())
    with postgres.connect(database) as db:
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = "
            "current_database()"
        )
    await ledger.begin(new_generation())
    assert ledger.problem is None
    assert len(await ledger.recent(10)) == 2
    await ledger.aclose()


async def test_a_database_that_does_not_answer_delays_a_call_only_briefly(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connection, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(postgres_connection, "CONNECT_SECONDS", 1)
    ledger = SharedLedger(database)
    generation = await ledger.begin(new_generation())
    assert isinstance(ledger._database, PostgresLedger)
    with ledger._database._connection() as connection:
        backend = connection.info.backend_pid
    with anyio.fail_after(60), Frozen(backend):
        assert await ledger.find(generation.generation_id) == generation
    await ledger.aclose()


async def test_a_submit_that_waits_too_long_for_another_is_refused(
    postgres: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connection, "_SESSION", postgres_connection._SESSION.replace("'5s'", "'50ms'"))
    ledger = SharedLedger(database)
    with postgres.connect(database) as db:
        db.execute("SELECT pg_advisory_lock(%s)", [postgres_connection.SUBMIT_LOCK])
        with pytest.raises(LedgerBusy, match="too busy"):
            await ledger.begin(new_generation(), lambda usage_of: None)
        await ledger.begin(new_generation())  # nothing to check, so nothing to wait for
    await ledger.begin(new_generation(), lambda usage_of: None)
    assert ledger.problem is None
    await ledger.aclose()


async def test_a_change_by_another_replica_is_seen_at_once(database: str) -> None:
    first, second = SharedLedger(database), SharedLedger(database)
    generation = (await first.begin(new_generation(request_id="r-1"))).accepted("ta1", 101.0)
    await first.save(generation)
    seen = replace(generation, status=Status.IN_PROGRESS)
    await second.save(seen)
    assert await first.find("ta1") == seen
    assert await first.find_request("r-1", "sandbox") == seen
    await second.save_image(generation.generation_id, 1, PNG)
    done = succeeded(generation)
    await second.save(done)
    assert await first.find("ta1") == done
    assert await first.load_image(done.generation_id, 1) == PNG
    assert await first.load_image(done.generation_id, 0) is None
    await first.aclose()
    await second.aclose()


async def test_a_listener_that_is_cancelled_while_it_reports_a_change_closes_its_connection(
    monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    connections = []

    async def connect(database: Database) -> AsyncConnection:
        connections.append(await original(database))
        return connections[-1]

    original = notifications._connect
    monkeypatch.setattr(notifications, "_connect", connect)
    listening, reporting = anyio.Event(), anyio.Event()

    async def report(generation_id: str | None) -> None:
        if generation_id is None:
            listening.set()
        else:
            reporting.set()
            await anyio.sleep_forever()

    first, second = SharedLedger(database), SharedLedger(database)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.follow, report)
        await listening.wait()
        await second.begin(new_generation())
        await reporting.wait()
        tasks.cancel_scope.cancel()
    assert [connection.closed for connection in connections] == [True]
    await first.aclose()
    await second.aclose()


def test_pruning_by_age_deletes_images_and_keeps_a_skeleton(postgres: Cluster, database: str) -> None:
    ledger = PostgresLedger(Database(database))
    for number in range(3):
        generation = succeeded(new_generation().accepted(f"ta{number}", number * 100.0), seconds=1.0)
        ledger.save(generation)
        ledger.save_image(generation.generation_id, 1, PNG)
    open_task = new_generation(created_at=0.0).accepted("ta-open", 1.0)
    ledger.save(open_task)
    assert ledger.prune(older_than=150.0, now=1_000.0) == 2
    assert {generation.task_id for generation in ledger.recent(10)} == {"ta2", "ta-open"}
    skeleton = ledger.find("ta1")
    assert skeleton is not None
    assert (skeleton.credits_consumed, skeleton.images, skeleton.prompt) == ("0.500000", (), None)
    with postgres.connect(database) as db:
        row = db.execute("SELECT count(*) FROM pictures").fetchone()
    assert row == (1,)
    ledger.close()


def test_of_several_replicas_one_prunes_at_a_time(postgres: Cluster, database: str) -> None:
    ledger = PostgresLedger(Database(database))
    ledger.save(succeeded(new_generation().accepted("ta1", 100.0)))
    with postgres.connect(database) as db:
        db.execute("SELECT pg_advisory_lock(%s)", [postgres_connection.PRUNE_LOCK])
        assert ledger.prune(older_than=1e9, now=1e9) == 0
        # Given back by name: a server frees the locks of a closed connection only when it gets round to it.
        db.execute("SELECT pg_advisory_unlock(%s)", [postgres_connection.PRUNE_LOCK])
    assert ledger.prune(older_than=1e9, now=1e9) == 1
    ledger.close()


async def test_the_password_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    ledger = SharedLedger(f"postgresql://nano:{PASSWORD}@127.0.0.1:9/db")
    with caplog.at_level(logging.DEBUG), pytest.raises(LedgerBusy) as caught:
        await ledger.begin(new_generation())
    assert PASSWORD not in caplog.text + str(caught.value) + str(ledger.problem)
    await ledger.aclose()
