"""The shape of the ledger's file, version by version."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import sys
import time
from pathlib import Path

from nano_banana_mcp.ledger.base import LedgerError

BUSY_SECONDS = 5.0

# One script a version; a file's version is how many of them it has seen. Never change one: add another.
MIGRATIONS = [
    """
    CREATE TABLE generations (
        intent_id TEXT PRIMARY KEY,
        task_id TEXT,
        principal TEXT NOT NULL DEFAULT '',
        request_id TEXT,
        request_hash TEXT,
        status TEXT NOT NULL,
        prompt TEXT,
        model TEXT,
        api TEXT,
        options TEXT,
        images TEXT NOT NULL,
        credits_consumed TEXT,
        message TEXT,
        created_at REAL NOT NULL,
        submitted_at REAL,
        open_at REAL,
        finished_at REAL
    ) WITHOUT ROWID;
    CREATE INDEX generations_by_task ON generations (task_id) WHERE task_id IS NOT NULL;
    CREATE UNIQUE INDEX generations_by_request ON generations (principal, api, request_id) WHERE request_id IS NOT NULL;
    CREATE INDEX generations_by_time ON generations (created_at);
    CREATE INDEX generations_by_model ON generations (model, finished_at) WHERE status = 'success';
    CREATE TABLE images (
        url TEXT PRIMARY KEY,
        intent_id TEXT NOT NULL REFERENCES generations ON DELETE CASCADE
    ) WITHOUT ROWID;
    CREATE INDEX images_by_intent ON images (intent_id);
    """,
    # Two principals may be handed the same URL; a task may end by a callback to another process.
    """
    CREATE TABLE images_of_all (
        url TEXT NOT NULL,
        intent_id TEXT NOT NULL REFERENCES generations ON DELETE CASCADE,
        PRIMARY KEY (url, intent_id)
    ) WITHOUT ROWID;
    INSERT INTO images_of_all SELECT url, intent_id FROM images;
    DROP TABLE images;
    ALTER TABLE images_of_all RENAME TO images;
    CREATE INDEX images_by_intent ON images (intent_id);
    ALTER TABLE generations ADD COLUMN expects_callback INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX generations_open ON generations (submitted_at) WHERE finished_at IS NULL AND task_id IS NOT NULL;
    """,
]


def open_database(path: Path) -> tuple[sqlite3.Connection, bool]:
    """The database at ``path``, made where there is none, up to date; and whether it can only be read.

    Raises:
        LedgerError: the file is of a newer version; it is not touched.
        sqlite3.Error, OSError: it is no database, or the disk fails.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make_private(path)
    except PermissionError:
        return _open_to_read(path), True
    except OSError as error:
        if error.errno == errno.EROFS:
            return _open_to_read(path), True
        raise
    db = _connect(path.absolute().as_uri())
    try:
        prepare(db, path)
    except BaseException:
        db.close()
        raise
    return db, False


def _make_private(path: Path) -> None:
    """Have a file, readable by the user only: SQLite gives its side files the permissions of this one.

    One that is there is not opened: where closing a file drops all locks that the process has on it (POSIX), other
    connections of this process would go on without theirs, and other processes throw away what they write.
    """
    whole = Path(os.path.realpath(path))
    with contextlib.suppress(FileExistsError):
        os.close(os.open(whole, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    if whole.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.access(whole, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    # On Windows a mode says only whether a file may be written; whoever may enter the folder may read it.
    if sys.platform != "win32" and stat.S_IMODE(whole.stat().st_mode) != 0o600:
        whole.chmod(0o600)


def _open_to_read(path: Path) -> sqlite3.Connection:
    """Where nothing can be written, SQLite cannot share the file with others either: it reads it as it is."""
    for how in ("mode=ro", "immutable=1"):
        db = _connect(f"{path.absolute().as_uri()}?{how}")
        try:
            _refuse_newer(db, path)
            db.execute("SELECT count(*) FROM generations")
        except sqlite3.OperationalError:
            db.close()
        except BaseException:
            db.close()
            raise
        else:
            return db
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _connect(uri: str) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    return db


def _refuse_newer(db: sqlite3.Connection, path: Path) -> None:
    if _version(db) > len(MIGRATIONS):
        raise LedgerError(
            f"A newer version of nano-banana-mcp has written the ledger {path}. Install that version, or "
            "name another folder in NANO_BANANA_STATE_DIR. The file was not touched."
        )


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Bring a new or older file up to date, safely while other processes do the same.

    Raises:
        LedgerError: the file is of a newer version; it is not touched.
        sqlite3.Error: it is no database, or the disk fails.
    """
    _refuse_newer(db, path)
    # Twenty processes may find the file new at the same time; only one of them can turn WAL on.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")  # macOS otherwise leaves it in the drive's own memory
    db.execute("PRAGMA foreign_keys = ON")
    if _version(db) < len(MIGRATIONS):
        _migrate(db)


def _migrate(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        done = _version(db)  # another process may have been faster
        for number, script in enumerate(MIGRATIONS[done:], start=done + 1):
            for statement in filter(str.strip, script.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
