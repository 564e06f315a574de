"""The ledger in PostgreSQL: shared by many, away now and then, and never the reason why something is paid twice."""

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
from nano_banana_mcp.ledger import notifications as shared
from nano_banana_mcp.ledger import postgres_connection
from nano_banana_mcp.ledger.base import LedgerBusy, LedgerError
from nano_banana_mcp.ledger.notifications import SharedLedger
from nano_banana_mcp.ledger.postgres import CHANNEL, PostgresLedger
from nano_banana_mcp.ledger.postgres_connection import MIGRATIONS, Database
from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.server import serve_sandbox
from tests.support.clients import KEY, clean_environment
from tests.support.postgres import PASSWORD, Cluster, Frozen
from tests.unit.ledger.test_ledger import intent, succeeded

PNG = EncodedImage(b"\x89PNG\r\n\x1a\n" + b"x" * 1_000, "image/png")

MAKE_ONE_EACH = """
import os, sys
import anyio
from nano_banana_mcp.app import open_studio
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.quotas import LimitReached
from nano_banana_mcp.settings import load_settings

async def main(request_id):
    async with open_studio(load_settings()) as studio:
        await studio.ledger.recent(1)
        os.write(ready, b".")
        await anyio.to_thread.run_sync(os.read, start, 1)
        try:
            waited = await studio.generate(SubmitRequest(model="m", prompt="a cat"), request_id=request_id)
            said = waited.generation.task_id
        except LimitReached:
            said = "too-many"
        os.write(1, f"{said} ".encode())

import nano_banana_mcp.ledger.notifications, nano_banana_mcp.ledger.notifications
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
    async with serve_sandbox(SandboxConfig(seconds=3600)) as sandbox:
        said = await race(sandbox.url, database, ["r-1"] * 8)
        assert sandbox.stats.submits == 1
        assert said == [sandbox.tasks[0].id] * 8


async def test_of_two_processes_one_gets_the_last_open_task(database: str) -> None:
    async with serve_sandbox(SandboxConfig(seconds=3600)) as sandbox:
        said = await race(sandbox.url, database, ["r-1", "r-2"], NANO_BANANA_TOTAL_OPEN_TASKS="1")
        assert sandbox.stats.submits == 1
        assert sorted(said) == sorted([sandbox.tasks[0].id, "too-many"])


def test_five_that_find_the_database_empty_make_one_ledger(database: str) -> None:
    with ThreadPoolExecutor(5) as threads:
        ledgers = list(threads.map(lambda _: PostgresLedger(Database(database)), range(5)))
    known = ledgers[0].begin(intent())
    assert [ledger.find(known.generation_id) for ledger in ledgers] == [known] * 5
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


def test_a_lease_has_one_holder_until_it_is_released_or_its_holder_is_gone(postgres: Cluster, database: str) -> None:
    a, b = PostgresLedger(Database(database)), PostgresLedger(Database(database))
    known = intent().accepted("ta1", 101.0)
    a.save(known)
    assert a.take(known.generation_id)
    assert a.take(known.generation_id)
    assert not b.take(known.generation_id)
    a.release(known.generation_id)
    assert b.take(known.generation_id)
    assert not a.take(known.generation_id)
    b.leave()
    assert a.take(known.generation_id)
    die(postgres, database, a)
    assert b.take(known.generation_id)
    a.renew()
    assert not a.leases.holds(known.generation_id)
    assert not a.take(known.generation_id)
    a.close()
    b.close()


def test_who_lost_a_lease_overwrites_nothing_but_may_tell_the_end(postgres: Cluster, database: str) -> None:
    asleep, present = PostgresLedger(Database(database)), PostgresLedger(Database(database))
    known = intent().accepted("ta1", 101.0)
    asleep.save(known)
    assert asleep.take(known.generation_id)
    die(postgres, database, asleep)
    assert present.take(known.generation_id)
    seen = replace(known, status=Status.IN_PROGRESS)
    present.save(seen)
    asleep.save(replace(known, status=Status.SUBMITTED))
    assert present.find("ta1") == seen
    done = succeeded(known)
    asleep.save(done)
    present.save(replace(done, status=Status.FAILED, images=(), message="late news"))
    assert present.find("ta1") == done
    assert not present.take(known.generation_id)
    asleep.close()
    present.close()


def die(postgres: Cluster, database: str, ledger: PostgresLedger) -> None:
    """What the others see of a process that has given no sign of life for too long."""
    with postgres.connect(database) as db:
        holder = ledger.leases.holder
        ended = db.execute("UPDATE replicas SET alive_until = now() - interval '1 second' WHERE holder = %s", [holder])
        assert ended.rowcount == 1


async def test_an_outage_loses_nothing_and_lets_nothing_new_be_sent(
    frail_postgres: Cluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connection, "AWAY_SECONDS", 0.0)
    url = frail_postgres.create()
    ledger = SharedLedger(url)
    known = await ledger.begin(intent(request_id="r-1"))
    refused = await ledger.begin(intent())
    frail_postgres.stop()
    accepted = known.accepted("ta1", 101.0)
    await ledger.save(accepted)
    await ledger.forget(refused.generation_id)
    with pytest.raises(LedgerBusy):
        await ledger.begin(intent())
    with pytest.raises(LedgerBusy):
        await ledger.find("ta-of-another-replica")
    with pytest.raises(LedgerBusy):
        await ledger.find_request("r-2", "sandbox")
    assert await ledger.find("ta1") == accepted
    assert await ledger.find_request("r-1", "sandbox") == accepted
    assert await ledger.recent(10) != []
    done = succeeded(accepted)
    await ledger.save(done, {1: PNG})
    assert await ledger.find("ta1") == done
    assert ledger.problem is not None
    assert PASSWORD not in ledger.problem + caplog.text
    frail_postgres.start()
    await ledger.begin(intent(prompt="after"))
    assert ledger.problem is None
    await ledger.aclose()
    database = PostgresLedger(Database(url))
    assert database.find("ta1") == done
    assert database.encoded(done.generation_id, 1) == PNG
    assert database.find(refused.generation_id) is None
    assert len(database.recent(10)) == 2
    database.close()


async def test_what_an_outage_kept_is_written_without_another_call(
    frail_postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "HEARTBEAT_SECONDS", 0.1)
    url = frail_postgres.create()
    ledger = SharedLedger(url)
    known = await ledger.begin(intent())
    frail_postgres.stop()
    await ledger.save(known.accepted("ta1", 101.0))
    frail_postgres.start()

    async def nothing(_: str | None) -> None: ...

    with frail_postgres.connect(url) as db:
        db.execute(f"LISTEN {CHANNEL}".encode())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ledger.follow, nothing)
            [notice] = await in_thread(lambda: list(db.notifies(timeout=20, stop_after=1)))
            tasks.cancel_scope.cancel()
        assert notice.payload.endswith(known.generation_id)
        assert db.execute("SELECT task_id FROM generations").fetchall() == [("ta1",)]
    await ledger.aclose()


async def test_one_row_that_cannot_be_written_is_in_nobodys_way(postgres: Cluster, database: str) -> None:
    ledger = SharedLedger(database)
    await ledger.begin(intent())
    with postgres.connect(database) as db:
        db.execute("ALTER TABLE generations ADD CHECK (prompt <> 'odd')")
    odd = intent(prompt="odd").accepted("ta1", 101.0)
    await ledger.save(odd)
    assert ledger.problem is not None
    other = (await ledger.begin(intent())).accepted("ta2", 101.0)
    await ledger.save(other)
    assert await ledger.find("ta1") == odd
    with postgres.connect(database) as db:
        assert db.execute("SELECT task_id FROM generations WHERE task_id IS NOT NULL").fetchall() == [("ta2",)]
        db.execute("ALTER TABLE generations DROP CONSTRAINT generations_prompt_check")
    await ledger.save(replace(other, status=Status.IN_PROGRESS))
    assert ledger.problem is None
    with postgres.connect(database) as db:
        assert db.execute("SELECT count(*) FROM generations WHERE task_id IS NOT NULL").fetchall() == [(2,)]
    await ledger.aclose()


async def test_a_connection_that_died_while_it_was_idle_is_not_noticed(postgres: Cluster, database: str) -> None:
    ledger = SharedLedger(database)
    await ledger.begin(intent())
    with postgres.connect(database) as db:
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = "
            "current_database()"
        )
    await ledger.begin(intent())
    assert ledger.problem is None
    assert len(await ledger.recent(10)) == 2
    await ledger.aclose()


async def test_a_database_that_says_nothing_holds_nobody_up_for_long(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connection, "SILENT_SECONDS", 0.3)
    ledger = SharedLedger(database)
    known = await ledger.begin(intent())
    assert isinstance(ledger._disk, PostgresLedger)
    with anyio.fail_after(10), Frozen(ledger._disk._db.info.backend_pid):
        assert await ledger.find(known.generation_id) == known
    await ledger.aclose()


async def test_a_submit_that_another_holds_up_for_too_long_is_refused(
    postgres: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connection, "_SESSION", postgres_connection._SESSION.replace("'5s'", "'50ms'"))
    ledger = SharedLedger(database)
    with postgres.connect(database) as db:
        db.execute("SELECT pg_advisory_lock(%s)", [postgres_connection.SUBMIT_LOCK])
        with pytest.raises(LedgerBusy, match="too busy"):
            await ledger.begin(intent(), lambda usage_of: None)
        await ledger.begin(intent())  # nothing to check: nobody to wait for
    await ledger.begin(intent(), lambda usage_of: None)
    assert ledger.problem is None
    await ledger.aclose()


async def test_nothing_is_known_by_heart_but_what_cannot_change(database: str) -> None:
    ours, theirs = SharedLedger(database), SharedLedger(database)
    known = (await ours.begin(intent(request_id="r-1"))).accepted("ta1", 101.0)
    await ours.save(known)
    seen = replace(known, status=Status.IN_PROGRESS)
    await theirs.save(seen)
    assert await ours.find("ta1") == seen
    assert await ours.find_request("r-1", "sandbox") == seen
    done = succeeded(known)
    await theirs.save(done, {1: PNG})
    assert await ours.find("ta1") == done
    assert await ours.encoded(done.generation_id, 1) == PNG
    await ours.aclose()
    await theirs.aclose()


async def test_a_known_end_is_told_without_the_database(frail_postgres: Cluster) -> None:
    ledger = SharedLedger(frail_postgres.create())
    done = succeeded((await ledger.begin(intent())).accepted("ta1", 101.0))
    await ledger.save(done)
    frail_postgres.stop()
    assert await ledger.find("ta1") == done
    assert ledger.problem is None
    frail_postgres.start()
    await ledger.aclose()


async def test_the_time_of_the_last_look_is_remembered_though_it_is_not_written(database: str) -> None:
    """It tells how well the moment of an end is known, from which the schedule learns."""
    ledger = SharedLedger(database)
    known = (await ledger.begin(intent())).accepted("ta1", 101.0)
    await ledger.save(known)
    await ledger.save(replace(known, open_at=130.0))
    found = await ledger.find("ta1")
    assert found is not None
    assert found.open_at == 130.0
    await ledger.aclose()


def test_pruning_drops_images_with_their_rows(postgres: Cluster, database: str) -> None:
    ledger = PostgresLedger(Database(database))
    for number in range(3):
        ledger.save(succeeded(intent().accepted(f"ta{number}", number * 100.0)), {1: PNG})
    waiting = intent(created_at=0.0).accepted("ta-open", 1.0)
    ledger.save(waiting)
    assert ledger.prune(most_bytes=2 * len(PNG.data)) == 1
    assert ledger.prune(older_than=150.0) == 1
    assert {known.task_id for known in ledger.recent(10)} == {"ta2", "ta-open"}
    with postgres.connect(database) as db:
        row = db.execute("SELECT count(*) FROM pictures").fetchone()
    assert row == (1,)
    ledger.close()


def test_of_several_replicas_one_prunes_at_a_time(postgres: Cluster, database: str) -> None:
    ledger = PostgresLedger(Database(database))
    ledger.save(succeeded(intent().accepted("ta1", 100.0)))
    with postgres.connect(database) as db:
        db.execute("SELECT pg_advisory_lock(%s)", [postgres_connection.PRUNE_LOCK])
        assert ledger.prune(older_than=1e12) == 0
        # Given back by name: a server frees the locks of a closed connection only when it gets round to it.
        db.execute("SELECT pg_advisory_unlock(%s)", [postgres_connection.PRUNE_LOCK])
    assert ledger.prune(older_than=1e12) == 1
    ledger.close()


async def test_what_another_replica_pruned_is_forgotten_here_too(database: str) -> None:
    ours, theirs = SharedLedger(database), PostgresLedger(Database(database))
    await ours.save(succeeded(intent().accepted("ta1", 100.0)))
    assert theirs.prune(older_than=1e12) == 1
    await ours.tidy()
    assert await ours.find("ta1") is None
    theirs.close()
    await ours.aclose()


async def test_nothing_of_the_password_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    ledger = SharedLedger(f"postgresql://nano:{PASSWORD}@127.0.0.1:9/db")
    with caplog.at_level(logging.DEBUG), pytest.raises(LedgerBusy) as caught:
        await ledger.begin(intent())
    assert PASSWORD not in caplog.text + str(caught.value) + str(ledger.problem)
    await ledger.aclose()
