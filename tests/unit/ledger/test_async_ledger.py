"""The ledger on disk: private, shared, and never the reason why a server stops."""

from __future__ import annotations

import logging
import sqlite3
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
import trio
import trio.testing

from nano_banana_mcp.generations.models import Status
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger import sqlite
from nano_banana_mcp.ledger import sqlite_schema as schema
from nano_banana_mcp.ledger.async_ledger import PROBE_SECONDS, DurableLedger
from nano_banana_mcp.ledger.base import LedgerBusy, LedgerError
from nano_banana_mcp.ledger.sqlite import FILE_NAME, SqliteLedger
from nano_banana_mcp.ledger.sqlite_schema import MIGRATIONS
from nano_banana_mcp.settings import load_settings
from nano_banana_mcp.storage import open_ledger
from tests.support.crowd import Shared, share_one_ledger
from tests.unit.ledger.test_ledger import intent, succeeded

PNG = EncodedImage(b"\x89PNG\r\n\x1a\n" + b"x" * 1_000, "image/png")


def test_files_and_folders_are_readable_by_the_user_only(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "state")
    ledger.save(succeeded(intent().accepted("ta1", 1.0)), {1: PNG})
    for path in [tmp_path / "state", *(tmp_path / "state").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    ledger.close()


def test_two_connections_of_one_process_lose_nothing_to_another_that_comes_and_goes(tmp_path: Path) -> None:
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
    first.begin(intent())
    second = SqliteLedger(tmp_path)
    assert seen_by_another() == "1"
    first.begin(intent())
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
    file.write_bytes(b"this is no database, but somebody's letter" * 100)
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
async def test_a_disk_that_fails_is_told_once_and_memory_serves(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = DurableLedger(await spoiled(tmp_path, how))
    with caplog.at_level(logging.WARNING):
        accepted = (await ledger.begin(intent())).accepted("ta1", 101.0)
        await ledger.save(accepted)
        done = succeeded(accepted)
        await ledger.save(done, {1: PNG})
    assert await ledger.find("ta1") == done
    assert await ledger.recent(10) == [done]
    assert await ledger.encoded(done.generation_id, 1) == PNG
    assert ledger.problem is not None
    assert str(tmp_path) in ledger.problem
    assert len([record for record in caplog.records if "ledger" in record.getMessage()]) == 1
    await ledger.aclose()


async def test_what_could_not_be_written_is_written_as_soon_as_it_can_be(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.write_text("in the way")
    ledger = DurableLedger(folder)
    first = succeeded((await ledger.begin(intent())).accepted("ta1", 101.0))
    await ledger.save(first, {1: PNG})
    folder.unlink()
    second = (await ledger.begin(intent(created_at=200.0))).accepted("ta2", 201.0)
    await ledger.save(second)
    assert ledger.problem is None
    await ledger.aclose()
    disk = SqliteLedger(folder)
    assert disk.recent(10) == [second, first]
    assert disk.encoded(first.generation_id, 1) == PNG
    disk.close()


def test_a_probe_finds_out_by_itself_that_the_disk_fails_and_that_it_is_mended(tmp_path: Path) -> None:
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


async def test_a_probe_writes_but_not_more_often_than_it_may(tmp_path: Path) -> None:
    ledger = DurableLedger(tmp_path)
    await ledger.begin(intent())
    written = log_size(tmp_path)
    assert await ledger.probe() is None
    assert log_size(tmp_path) == written
    ledger._tried_at -= PROBE_SECONDS
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


async def test_a_full_disk_in_the_middle_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = False
    original = schema.open_database

    def open_database(path: Path) -> tuple[sqlite3.Connection, bool]:
        db, read_only = original(path)
        if full:
            pages = db.execute("PRAGMA page_count").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {pages}")
        return db, read_only

    monkeypatch.setattr(sqlite, "open_database", open_database)
    ledger = DurableLedger(tmp_path)
    await ledger.begin(intent())
    await ledger.aclose()
    full = True
    kept = [(await ledger.begin(intent(prompt="x" * 5_000, created_at=float(n)))).generation_id for n in range(5)]
    assert "full" in (ledger.problem or "")
    assert {known.generation_id for known in await ledger.recent(10)} >= set(kept)
    full = False
    if isinstance(ledger._disk, SqliteLedger):
        ledger._disk._db.execute("PRAGMA max_page_count = 1000000")
    await ledger.aclose()
    disk = SqliteLedger(tmp_path)
    assert {known.generation_id for known in disk.recent(10)} >= set(kept)
    disk.close()


async def test_one_row_that_cannot_be_written_is_in_nobodys_way(tmp_path: Path) -> None:
    """Two processes make the same request while the file is locked: both were paid for, and both are kept."""
    ledger, other = DurableLedger(tmp_path), SqliteLedger(tmp_path)
    first = intent(request_id="r-1").accepted("ta1", 101.0)
    ledger._unwritten[first.generation_id] = (first, None)
    second = intent(request_id="r-1").accepted("ta2", 101.0)
    other.save(second)
    for number in range(3, 6):
        await ledger.save(intent().accepted(f"ta{number}", 101.0))
    assert ledger.problem is None
    assert {known.task_id for known in other.recent(10)} == {"ta1", "ta2", "ta3", "ta4", "ta5"}
    assert other.find_request("r-1", "sandbox") == second
    other.close()
    await ledger.aclose()


async def test_a_image_that_cannot_be_kept_costs_neither_its_row_nor_the_next(tmp_path: Path) -> None:
    (tmp_path / "pictures").write_text("in the way")
    ledger = DurableLedger(tmp_path)
    first = succeeded((await ledger.begin(intent())).accepted("ta1", 101.0))
    await ledger.save(first, {1: PNG})
    assert ledger.problem is not None
    second = (await ledger.begin(intent())).accepted("ta2", 101.0)
    await ledger.save(second)
    disk = SqliteLedger(tmp_path)
    assert {known.task_id for known in disk.recent(10)} == {"ta1", "ta2"}
    (tmp_path / "pictures").unlink()
    await ledger.save((await ledger.begin(intent())).accepted("ta3", 101.0))
    assert disk.encoded(first.generation_id, 1) == PNG
    assert ledger.problem is None
    disk.close()
    await ledger.aclose()


async def test_a_file_that_is_moved_away_is_written_anew_with_what_is_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = DurableLedger(tmp_path)
    first = (await ledger.begin(intent())).accepted("ta1", 101.0)
    await ledger.save(first)
    for path in tmp_path.glob(f"{FILE_NAME}*"):
        path.rename(tmp_path / f"old-{path.name}")
    await ledger.save((await ledger.begin(intent())).accepted("ta2", 101.0))
    assert "moved or deleted" in caplog.text
    disk = SqliteLedger(tmp_path)
    assert {known.task_id for known in disk.recent(10)} == {"ta1", "ta2"}
    disk.close()
    await ledger.aclose()


async def test_what_cannot_be_written_can_still_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """root may write everywhere, so the refusal of the system is played here."""
    disk = SqliteLedger(tmp_path)
    known = disk.begin(intent(request_id="r-1"))
    disk.close()

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("nano_banana_mcp.ledger.sqlite_schema.os.open", refuse)
    ledger = DurableLedger(tmp_path)
    assert await ledger.find_request("r-1", "sandbox") == known
    assert await ledger.recent(10) == [known]
    await ledger.begin(intent())
    assert ledger.problem is not None
    assert await ledger.find_request("r-1", "sandbox") == known
    await ledger.aclose()


async def test_a_request_id_that_cannot_be_written_is_refused_before_it_is_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be looked for, and is not there; but after a restart the repeated call would be paid again."""
    SqliteLedger(tmp_path).close()

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("nano_banana_mcp.ledger.sqlite_schema.os.open", refuse)
    ledger = DurableLedger(tmp_path)
    assert await ledger.find_request("r-1", "sandbox") is None
    with pytest.raises(LedgerError):
        await ledger.begin(intent(request_id="r-1"))
    assert await ledger.recent(10) == []
    await ledger.aclose()


async def test_where_nobody_can_tell_whether_a_request_was_made_it_is_said_so(tmp_path: Path) -> None:
    ledger = DurableLedger(await spoiled(tmp_path, "a spoiled file"))
    with pytest.raises(LedgerError, match="not a database"):
        await ledger.find_request("r-1", "sandbox")


async def test_a_file_that_is_busy_for_too_long_stops_a_submit_before_it_is_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.05)
    ledger = DurableLedger(tmp_path)
    await ledger.begin(intent())
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerBusy, match="locked"):
        await ledger.begin(intent())
    other.execute("ROLLBACK")
    other.close()
    await ledger.begin(intent())
    assert ledger.problem is None
    await ledger.aclose()


def test_one_row_with_values_of_somebody_elses_does_not_hide_the_others(tmp_path: Path) -> None:
    disk = SqliteLedger(tmp_path)
    good, odd = intent(), intent()
    disk.begin(good)
    disk.begin(odd)
    disk._db.execute(
        "UPDATE generations SET status = 'archived', images = '{' WHERE intent_id = ?", (odd.generation_id,)
    )
    assert {known.status for known in disk.recent(10)} == {Status.UNKNOWN}
    assert len(disk.recent(10)) == 2
    disk.close()


def test_a_task_that_was_only_met_is_kept_once_and_brings_its_own_row_up_to_date(tmp_path: Path) -> None:
    disk = SqliteLedger(tmp_path)
    own = intent().accepted("ta1", 100.0)
    disk.save(own)
    met = succeeded(intent(task_id="ta1", prompt=None))
    disk.save(replace(met, submitted_at=None))
    [kept] = disk.recent(10)
    assert (kept.generation_id, kept.prompt, kept.status) == (own.generation_id, own.prompt, Status.SUCCESS)
    disk.close()


def test_loose_permissions_of_an_older_file_are_tightened(tmp_path: Path) -> None:
    SqliteLedger(tmp_path).close()
    (tmp_path / FILE_NAME).chmod(0o644)
    SqliteLedger(tmp_path).close()
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


async def test_a_look_that_changes_nothing_is_not_written(tmp_path: Path) -> None:
    ledger = DurableLedger(tmp_path)
    accepted = (await ledger.begin(intent())).accepted("ta1", 101.0)
    await ledger.save(accepted)
    other = SqliteLedger(tmp_path)
    version = other._db.execute("PRAGMA data_version").fetchone()[0]
    for second in range(10):
        await ledger.save(replace(accepted, open_at=102.0 + second))
    assert other._db.execute("PRAGMA data_version").fetchone()[0] == version
    other.close()
    await ledger.aclose()


def test_twenty_processes_share_one_ledger_without_an_error_or_a_lost_row(tmp_path: Path) -> None:
    assert share_one_ledger(tmp_path / "state") == Shared(errors=0, finished=1_000)


def test_pruning_drops_what_ended_long_ago_and_never_what_is_open(tmp_path: Path) -> None:
    disk = SqliteLedger(tmp_path)
    old, new = (succeeded(intent().accepted(f"ta{n}", n * 1_000.0)) for n in (1, 2))
    disk.save(old, {1: PNG})
    disk.save(new, {1: PNG})
    waiting = intent(created_at=0.0).accepted("ta3", 1.0)
    unknown = intent(created_at=0.0)
    disk.save(waiting)
    disk.begin(unknown)
    assert disk.prune(older_than=1_500.0) == 1
    assert disk.find("ta1") is None
    assert disk.encoded(old.generation_id, 1) is None
    assert {known.public_id for known in disk.recent(10)} == {"ta2", "ta3", unknown.generation_id}
    assert disk.prune(older_than=1e12, most_bytes=0) == 1
    assert {known.public_id for known in disk.recent(10)} == {"ta3", unknown.generation_id}
    disk.close()


async def test_what_the_settings_no_longer_want_goes_while_the_server_runs_and_from_its_memory_too(
    tmp_path: Path,
) -> None:
    settings = load_settings(state_dir=tmp_path, keep_days=1)
    ledger = open_ledger(settings)
    await ledger.begin(intent())  # opens it
    old = succeeded(intent().accepted("ta-old", 1_000.0))
    new = replace(succeeded(intent().accepted("ta-new", 2_000.0)), finished_at=time.time())
    waiting = intent().accepted("ta-open", 3_000.0)
    for known in (old, new, waiting):
        await ledger.save(known, {1: PNG})
    assert await ledger.find("ta-old") == old
    await ledger.tidy()
    assert await ledger.find("ta-old") is None
    assert await ledger.encoded(old.generation_id, 1) is None
    assert await ledger.find("ta-new") == new
    assert await ledger.find("ta-open") == waiting
    await ledger.aclose()


def test_pruning_by_size_drops_the_oldest_images_first(tmp_path: Path) -> None:
    disk = SqliteLedger(tmp_path)
    for number in range(5):
        disk.save(succeeded(intent().accepted(f"ta{number}", number * 100.0)), {1: PNG})
    disk.save(succeeded(intent().accepted("ta-with-a-url", 0.0)))
    assert disk.prune(most_bytes=2 * len(PNG.data)) == 3
    assert {known.task_id for known in disk.recent(10)} == {"ta3", "ta4", "ta-with-a-url"}
    disk.close()


async def test_an_end_that_was_read_from_the_disk_is_not_read_again(tmp_path: Path) -> None:
    before = DurableLedger(tmp_path)
    await before.save(done := succeeded(intent().accepted("ta1", 1.0)))
    await before.aclose()
    ledger = DurableLedger(tmp_path)
    assert await ledger.find("ta1") == done
    await ledger.aclose()
    for file in tmp_path.iterdir():
        file.unlink()
    assert await ledger.find("ta1") == done
    assert not list(tmp_path.iterdir())


def test_what_is_written_is_on_the_disk_itself_and_not_in_the_drives_memory(tmp_path: Path) -> None:
    """Of the two settings, macOS needs both."""
    ledger = SqliteLedger(tmp_path)
    full, past_the_drive = (ledger._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "fullfsync"))
    assert (full, past_the_drive) == (2, 1)
    ledger.close()
