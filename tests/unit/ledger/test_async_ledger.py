"""The ledger in a file: private, shared by processes, and nothing begins that it does not record."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import pytest
import trio
import trio.testing

from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.ledger.async_ledger import PROBE_SECONDS, RETRY_SECONDS, DurableLedger
from nano_banana_mcp.ledger.errors import LedgerBusy, LedgerError
from nano_banana_mcp.ledger.listing import FILE_NAME, recent_rows
from nano_banana_mcp.ledger.queries import Values
from nano_banana_mcp.ledger.sqlite import SqliteLedger
from nano_banana_mcp.ledger.sqlite_schema import MIGRATIONS
from nano_banana_mcp.settings import load_settings
from nano_banana_mcp.storage import check_ledger, open_ledger
from tests.support.crowd import Shared, share_one_ledger
from tests.support.generations import new_generation, succeeded


def test_files_and_folders_are_readable_by_the_user_only(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "state")
    ledger.save(succeeded(new_generation().accepted("ta1", 1.0)))
    for path in [tmp_path / "state", *(tmp_path / "state").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    ledger.close()


def test_closing_a_connection_does_not_drop_another_ones_locks(tmp_path: Path) -> None:
    """On POSIX, closing a file drops all locks that the process has on it, also those of its other connections."""
    look = (
        "import sys; from pathlib import Path; from nano_banana_mcp.ledger.sqlite import SqliteLedger\n"
        "ledger = SqliteLedger(Path(sys.argv[1])); print(len(ledger.recent(10))); ledger.close()"
    )

    def seen_by_another() -> str:
        return subprocess.run(
            [sys.executable, "-c", look, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
        ).stdout.strip()

    first = SqliteLedger(tmp_path)
    first.begin(new_generation())
    second = SqliteLedger(tmp_path)
    assert seen_by_another() == "1"
    first.begin(new_generation())
    assert seen_by_another() == "2"
    first.close()
    second.close()


def test_a_file_of_a_newer_version_is_refused_and_not_touched(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    with sqlite3.connect(file) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    before = file.read_bytes()
    with pytest.raises(LedgerError, match="newer version"):
        SqliteLedger(tmp_path)
    assert file.read_bytes() == before


def test_a_file_that_is_no_ledger_is_refused_and_not_touched(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    file.write_bytes(b"this is no database, but a letter" * 100)
    with pytest.raises(LedgerError, match="not a database"):
        SqliteLedger(tmp_path)
    assert file.read_bytes().startswith(b"this is no database")


async def spoiled(tmp_path: Path, how: str) -> Path:
    """A state folder in which no ledger can be."""
    folder = tmp_path / "state"
    if how == "a file in place of the folder":
        folder.write_text("")
    elif how == "a folder in place of the file":
        (folder / FILE_NAME).mkdir(parents=True)
    else:
        folder.mkdir()
        (folder / FILE_NAME).write_bytes(b"garbage " * 1_000)
    return folder


@pytest.mark.parametrize("how", ["a file in place of the folder", "a folder in place of the file", "a spoiled file"])
async def test_an_unusable_state_folder_begins_nothing(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = DurableLedger(await spoiled(tmp_path, how))
    for request_id in (None, "r-1", None):
        with pytest.raises(LedgerError):
            await ledger.begin(new_generation(request_id=request_id))
    with pytest.raises(LedgerError):
        await ledger.find("ta1")
    assert ledger.problem is not None
    assert str(tmp_path) in ledger.problem
    assert "No new image is requested" in ledger.problem
    assert len([record for record in caplog.records if "ledger" in record.getMessage()]) == 1
    await ledger.aclose()


@pytest.mark.parametrize("how", ["a file in place of the folder", "a folder in place of the file", "a spoiled file"])
async def test_over_stdio_memory_replaces_an_unusable_state_folder(tmp_path: Path, how: str) -> None:
    ledger = open_ledger(load_settings(state_dir=await spoiled(tmp_path, how)), memory_fallback=True)
    accepted = (await ledger.begin(new_generation(request_id="r-1"))).accepted("ta1", 101.0)
    await ledger.save(accepted)
    assert await ledger.find("ta1") == accepted
    assert await ledger.probe() is not None
    assert await ledger.recent(10) == [accepted]
    assert "a repeated request_id is paid for again" in (ledger.problem or "")
    await ledger.aclose()


async def test_over_stdio_a_read_only_ledger_is_copied_to_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = SqliteLedger(tmp_path)
    earlier = database.begin(new_generation(request_id="r-1"))
    database.close()
    make_read_only(monkeypatch)
    ledger = DurableLedger(tmp_path, memory_fallback=True)
    assert await ledger.begin(new_generation(request_id="r-1")) == earlier
    await ledger.begin(new_generation(request_id="r-2"))
    assert len(await ledger.recent(10)) == 2
    assert "read-only" in (ledger.problem or "")
    await ledger.aclose()


@pytest.mark.parametrize("how", ["a file in place of the folder", "a folder in place of the file", "a spoiled file"])
async def test_a_server_can_refuse_to_start_on_an_unusable_state_folder(tmp_path: Path, how: str) -> None:
    with pytest.raises(LedgerError):
        check_ledger(load_settings(state_dir=await spoiled(tmp_path, how)))


def test_a_server_can_refuse_to_start_on_a_read_only_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_ledger(load_settings(state_dir=tmp_path))
    make_read_only(monkeypatch)
    with pytest.raises(LedgerError, match="Make it writable"):
        check_ledger(load_settings(state_dir=tmp_path))


def make_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """root may write everywhere, so the refusal of the system is simulated."""

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("nano_banana_mcp.ledger.sqlite_schema.os.open", refuse)


async def test_a_failed_save_is_retried_with_the_next_write(tmp_path: Path) -> None:
    disk = FullDisk(tmp_path)
    ledger = DurableLedger(disk.open)
    begun = await ledger.begin(new_generation(request_id="r-1"))
    refused = await ledger.begin(new_generation())
    disk.is_full = True
    accepted = begun.accepted("ta1", 101.0)
    await ledger.save(accepted)
    await ledger.forget(refused.generation_id)
    for request_id in (None, "r-2"):
        with pytest.raises(LedgerError, match="full"):
            await ledger.begin(new_generation(request_id=request_id))
    assert await ledger.find("ta1") == accepted
    assert await ledger.find_request("r-1", "sandbox") == accepted
    assert await ledger.recent(10) == [accepted]
    done = succeeded(accepted)
    await ledger.save(done)
    await ledger.save(accepted)
    assert await ledger.find("ta1") == done
    assert await ledger.open_tasks(0.0) == []
    assert ledger.problem is not None
    disk.is_full = False
    after = await ledger.begin(new_generation(created_at=200.0))
    assert ledger.problem is None
    await ledger.aclose()
    database = SqliteLedger(tmp_path)
    assert database.recent(10) == [after, done]
    database.close()


def test_pending_writes_are_retried_without_another_call(tmp_path: Path) -> None:
    disk = FullDisk(tmp_path)

    async def ignore(_: str | None) -> None: ...

    async def run() -> None:
        ledger = DurableLedger(disk.open)
        begun = await ledger.begin(new_generation())
        disk.is_full = True
        await ledger.save(succeeded(begun.accepted("ta1", 101.0)))
        assert ledger.problem is not None
        disk.is_full = False
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ledger.follow, ignore)
            while ledger.problem is not None:  # the retry is in a thread, which the virtual time does not wait for
                await anyio.sleep(RETRY_SECONDS)
            tasks.cancel_scope.cancel()
        await ledger.aclose()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0.1))
    database = SqliteLedger(tmp_path)
    assert database.find("ta1") is not None
    database.close()


@pytest.mark.parametrize("failures", [1, 9])
async def test_an_end_whose_write_failed_is_not_replaced_by_an_older_state_that_is_written_meanwhile(
    tmp_path: Path, failures: int
) -> None:
    database = BusyAtEnds(tmp_path, failures)
    ledger = DurableLedger(lambda: database)
    accepted = (await ledger.begin(new_generation())).accepted("ta1", 101.0)
    await ledger.save(accepted)
    done = succeeded(accepted)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ledger.save, done)
        tasks.start_soon(ledger.save, replace(accepted, status=Status.IN_PROGRESS))
    assert await ledger.find("ta1") == done
    database.failures = 0
    await ledger.begin(new_generation())
    await ledger.aclose()
    reopened = SqliteLedger(tmp_path)
    assert reopened.find("ta1") == done
    reopened.close()


async def test_an_end_that_is_reported_while_an_older_state_is_written_again_stays_pending(tmp_path: Path) -> None:
    database = BusyAtEnds(tmp_path, failures=9)
    ledger = DurableLedger(lambda: database)
    accepted = (await ledger.begin(new_generation())).accepted("ta1", 101.0)
    done = succeeded(accepted)

    def fail_then_report_the_end(generation: Generation) -> Generation:
        if generation == accepted and ledger._pending:
            anyio.from_thread.run_sync(ledger._pending.__setitem__, done.generation_id, done)
            return SqliteLedger.save(database, generation)
        raise LedgerBusy("locked")

    database.save = fail_then_report_the_end  # type: ignore[method-assign]  # a save with a report in the middle
    await ledger.save(accepted)
    await ledger.begin(new_generation())
    assert await ledger.find("ta1") == done
    await ledger.aclose()


class BusyAtEnds(SqliteLedger):
    """A ledger that is locked at the next ``failures`` writes of an end."""

    def __init__(self, folder: Path, failures: int) -> None:
        super().__init__(folder)
        self.failures = failures

    def save(self, generation: Generation) -> Generation:
        if generation.finished and self.failures > 0:
            self.failures -= 1
            raise LedgerBusy("locked")
        return super().save(generation)


async def test_a_refused_request_that_cannot_be_removed_yet_is_not_begun_again(tmp_path: Path) -> None:
    disk = FullDisk(tmp_path)
    ledger = DurableLedger(disk.open)
    refused = await ledger.begin(new_generation(request_id="r-1"))
    disk.is_full = True
    await ledger.forget(refused.generation_id)
    with pytest.raises(LedgerError, match="cannot be written"):
        await ledger.begin(new_generation(request_id="r-1"))
    disk.is_full = False
    again = new_generation(request_id="r-1")
    assert await ledger.begin(again) == again
    await ledger.aclose()


class FullDisk:
    """A ledger whose disk is full while :attr:`is_full`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.is_full = False

    def open(self) -> SqliteLedger:
        return OnFullDisk(self._folder, self)


class OnFullDisk(SqliteLedger):
    def __init__(self, folder: Path, disk: FullDisk) -> None:
        super().__init__(folder)
        self._disk = disk

    def _fetch(self, sql: str, values: Values | None = None) -> list[Any]:
        if self._disk.is_full and not sql.startswith(("SELECT", "BEGIN", "COMMIT", "ROLLBACK")):
            raise LedgerError("The database or disk is full.")
        return super()._fetch(sql, values)


def test_a_probe_notices_that_the_disk_fails_and_recovers(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.write_text("in the way")

    async def run() -> None:
        ledger = DurableLedger(folder)
        assert str(folder) in (await ledger.probe() or "")
        folder.unlink()
        await anyio.sleep(PROBE_SECONDS)
        assert await ledger.probe() is None
        await ledger.aclose()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0.01))


async def test_probes_write_at_most_once_per_interval(tmp_path: Path) -> None:
    ledger = DurableLedger(tmp_path)
    await ledger.begin(new_generation())
    written = log_size(tmp_path)
    assert await ledger.probe() is None
    assert log_size(tmp_path) == written
    ledger._written_at -= PROBE_SECONDS
    assert await ledger.probe() is None
    assert (once := log_size(tmp_path)) > written
    for _ in range(10):
        await ledger.probe()
    assert log_size(tmp_path) == once
    await ledger.aclose()
    disk = SqliteLedger(tmp_path)
    assert len(disk.recent(10)) == 1
    disk.close()


def log_size(folder: Path) -> int:
    return (folder / f"{FILE_NAME}-wal").stat().st_size


async def test_a_full_disk_begins_nothing(tmp_path: Path) -> None:
    database = SqliteLedger(tmp_path)
    pages = database._db.execute("PRAGMA page_count").fetchone()[0]
    database._db.execute(f"PRAGMA max_page_count = {pages}")
    ledger = DurableLedger(lambda: database)
    with pytest.raises(LedgerError, match="full"):
        await ledger.begin(new_generation(prompt="x" * 50_000))
    assert "full" in (ledger.problem or "")


async def test_two_submits_with_one_request_id_are_both_recorded(tmp_path: Path) -> None:
    """A second process submits while the first one's write is pending: both were paid for."""
    ledger, other = DurableLedger(tmp_path), SqliteLedger(tmp_path)
    first = new_generation(request_id="r-1").accepted("ta1", 101.0)
    second = new_generation(request_id="r-1").accepted("ta2", 101.0)
    other.save(second)
    await ledger.save(first)
    assert ledger.problem is None
    assert {generation.task_id for generation in other.recent(10)} == {"ta1", "ta2"}
    assert other.find_request("r-1", "sandbox") == second
    other.close()
    await ledger.aclose()


async def test_a_moved_file_is_replaced_by_a_new_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = DurableLedger(tmp_path)
    first = (await ledger.begin(new_generation())).accepted("ta1", 101.0)
    for path in tmp_path.glob(f"{FILE_NAME}*"):
        path.rename(tmp_path / f"old-{path.name}")
    await ledger.save(first)
    assert "moved or deleted" in caplog.text
    assert await ledger.find("ta1") == first
    await ledger.aclose()


async def test_a_read_only_ledger_is_read_and_begins_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = SqliteLedger(tmp_path)
    generation = database.begin(new_generation(request_id="r-1"))
    database.close()
    make_read_only(monkeypatch)
    ledger = DurableLedger(tmp_path)
    assert await ledger.find_request("r-1", "sandbox") == generation
    assert await ledger.recent(10) == [generation]
    for request_id in (None, "r-2"):
        with pytest.raises(LedgerError, match="read-only"):
            await ledger.begin(new_generation(request_id=request_id))
    assert ledger.problem is not None
    assert await ledger.recent(10) == [generation]
    await ledger.aclose()


async def test_a_failed_read_is_no_problem_for_what_comes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = DurableLedger(tmp_path)
    await ledger.begin(new_generation())

    def fail(*_: object) -> list[Generation]:
        raise LedgerError("disk I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(SqliteLedger, "recent", fail)
        with pytest.raises(LedgerError):
            await ledger.recent(10)
    assert ledger.problem is None
    assert len(await ledger.recent(10)) == 1
    await ledger.aclose()


async def test_a_busy_file_begins_nothing(tmp_path: Path) -> None:
    ledger = DurableLedger(lambda: SqliteLedger(tmp_path, busy_seconds=0.05))
    await ledger.begin(new_generation())
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerBusy, match="locked"):
        await ledger.begin(new_generation())
    other.execute("ROLLBACK")
    other.close()
    await ledger.begin(new_generation())
    assert ledger.problem is None
    await ledger.aclose()


def test_a_row_with_unreadable_values_hides_no_other(tmp_path: Path) -> None:
    disk = SqliteLedger(tmp_path)
    good, odd = new_generation(), new_generation()
    disk.begin(good)
    disk.begin(odd)
    disk._db.execute(
        "UPDATE generations SET status = 'archived', images = '{' WHERE intent_id = ?", (odd.generation_id,)
    )
    assert {generation.status for generation in disk.recent(10)} == {Status.UNKNOWN}
    assert len(disk.recent(10)) == 2
    disk.close()


def test_a_task_looked_up_by_id_updates_the_row_of_its_submit(tmp_path: Path) -> None:
    disk = SqliteLedger(tmp_path)
    own = new_generation().accepted("ta1", 100.0)
    disk.save(own)
    looked_up = succeeded(new_generation(task_id="ta1", prompt=None))
    disk.save(replace(looked_up, submitted_at=None))
    [row] = disk.recent(10)
    assert (row.generation_id, row.prompt, row.status) == (own.generation_id, own.prompt, Status.SUCCESS)
    disk.close()


def test_loose_permissions_of_an_older_file_are_tightened(tmp_path: Path) -> None:
    SqliteLedger(tmp_path).close()
    (tmp_path / FILE_NAME).chmod(0o644)
    SqliteLedger(tmp_path).close()
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


async def test_an_unchanged_generation_is_not_written(tmp_path: Path) -> None:
    ledger = DurableLedger(tmp_path)
    accepted = (await ledger.begin(new_generation())).accepted("ta1", 101.0)
    await ledger.save(accepted)
    other = SqliteLedger(tmp_path)
    version = other._db.execute("PRAGMA data_version").fetchone()[0]
    for second in range(10):
        await ledger.save(replace(accepted, open_at=102.0 + second))
    assert other._db.execute("PRAGMA data_version").fetchone()[0] == version
    other.close()
    await ledger.aclose()


@pytest.mark.slow
def test_twenty_processes_share_one_ledger(tmp_path: Path) -> None:
    assert share_one_ledger(tmp_path / "state", tasks=5) == Shared(errors=0, finished=100)


DAY = 86_400.0
NOW = 1_790_000_000.0


def test_pruning_by_age_keeps_a_skeleton_for_thirty_days(tmp_path: Path) -> None:
    database = SqliteLedger(tmp_path)
    ages = {"ta-new": 1.0, "ta-old": 3.0, "ta-very-old": 31.0}
    for task_id, days in ages.items():
        begun = new_generation(created_at=NOW - days * DAY, request_id=task_id, request_hash="h")
        database.save(succeeded(begun.accepted(task_id, NOW - days * DAY)))
    open_task = new_generation(created_at=0.0).accepted("ta-open", 1.0)
    unknown = new_generation(created_at=0.0)
    database.save(open_task)
    database.begin(unknown)
    assert database.prune(older_than=NOW - 2 * DAY, now=NOW) == 2
    listed = {"ta-new", "ta-open", unknown.generation_id}
    assert {generation.public_id for generation in database.recent(10)} == listed
    assert {generation.public_id for generation in database.history()} == listed
    assert database.tally().number == 3
    assert database.find("ta-very-old") is None
    skeleton = database.find("ta-old")
    assert skeleton is not None
    assert database.find_request("ta-old", "sandbox") == skeleton
    assert (skeleton.status, skeleton.credits_consumed, skeleton.request_hash) == (Status.SUCCESS, "0.500000", "h")
    assert skeleton.finished_at is not None
    assert (skeleton.prompt, skeleton.images) == (None, ())
    assert {row["task_id"] for row in recent_rows(database._db, 10)} == {"ta-new", None, "ta-open"}
    assert database.prune(older_than=NOW - 2 * DAY, now=NOW) == 0
    assert database.prune(older_than=NOW + 30 * DAY, now=NOW + 32 * DAY) == 1
    assert database.find("ta-old") is None
    database.close()


async def test_the_ledger_is_pruned_while_the_server_runs(tmp_path: Path) -> None:
    ledger = open_ledger(load_settings(state_dir=tmp_path, keep_days=1, keep_megabytes=0.001))
    await ledger.begin(new_generation())  # opens it
    old = succeeded(new_generation().accepted("ta-old", 1_000.0))
    new = replace(succeeded(new_generation().accepted("ta-new", 2_000.0)), finished_at=time.time())
    open_task = new_generation().accepted("ta-open", 3_000.0)
    for generation in (old, new, open_task):
        await ledger.save(generation)
    await ledger.tidy()
    assert await ledger.find("ta-old") is None
    assert await ledger.find("ta-new") == new
    assert await ledger.find("ta-open") == open_task
    await ledger.aclose()


def test_writes_reach_the_disk_and_not_only_its_cache(tmp_path: Path) -> None:
    """Of the two settings, macOS needs both."""
    ledger = SqliteLedger(tmp_path)
    full, past_the_drive = (ledger._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "fullfsync"))
    assert (full, past_the_drive) == (2, 1)
    ledger.close()
