"""The schema of the SQLite ledger, version by version, and how a file is opened."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from nano_banana_mcp.common.files import display_path, private_folder
from nano_banana_mcp.ledger.errors import LedgerError
from nano_banana_mcp.ledger.sums import SQLITE_DAY, values_of

BUSY_SECONDS = 5.0
"""Longest wait for another process's transaction."""

_BUILT_TO = {name: f"(SELECT built_to FROM builds WHERE name = '{name}')" for name in ("sums", "search")}  # noqa: S608 - our own names


def _counted(row: str, change: str) -> str:
    """The statement of a trigger that counts a row. Part of migrations: it must not change."""
    values = ", ".join(values_of(row, SQLITE_DAY, "instr").values())
    return f"INSERT INTO sums VALUES ({values}, 0 {change}) ON CONFLICT DO UPDATE SET number = number {change}"  # noqa: S608 - our own names


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
    """
    ALTER TABLE generations ADD COLUMN batch_id TEXT;
    CREATE INDEX generations_by_batch ON generations (batch_id) WHERE batch_id IS NOT NULL;
    """,
    """
    ALTER TABLE generations ADD COLUMN save_as TEXT;
    ALTER TABLE generations ADD COLUMN ended_at REAL;
    """,
    # Images that people upload; their bytes are in the image store.
    """
    CREATE TABLE upload_requests (
        upload_id TEXT PRIMARY KEY,
        access_grant TEXT NOT NULL UNIQUE,
        principal TEXT NOT NULL,
        purpose TEXT,
        max_uploads INTEGER NOT NULL,
        used INTEGER NOT NULL DEFAULT 0,
        created_at REAL NOT NULL,
        expires_at REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX upload_requests_by_expiry ON upload_requests (expires_at);
    CREATE TABLE uploads (
        reference_id TEXT PRIMARY KEY,
        upload_id TEXT NOT NULL,
        principal TEXT NOT NULL,
        mime_type TEXT NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        created_at REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX uploads_by_request ON uploads (upload_id);
    CREATE INDEX uploads_by_time ON uploads (principal, created_at);
    CREATE TABLE upload_pieces (
        upload_id TEXT NOT NULL REFERENCES upload_requests ON DELETE CASCADE,
        image INTEGER NOT NULL,
        piece INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (upload_id, image, piece)
    );
    """,
    "CREATE TABLE favorites (intent_id TEXT PRIMARY KEY REFERENCES generations ON DELETE CASCADE) WITHOUT ROWID",
    # What answers quickly in a large ledger, see sums.py and sqlite_search.py. Rows up to `built_to` (their time) are
    # included; a ledger with rows is built in steps after it is opened. The triggers use no module that an SQLite
    # library may lack.
    f"""
    CREATE TABLE builds (
        name TEXT PRIMARY KEY, built_to REAL NOT NULL, is_stale INTEGER NOT NULL DEFAULT 0,
        merging INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    INSERT INTO builds (name, built_to) SELECT name, CASE WHEN EXISTS (SELECT 1 FROM generations) THEN -9e999 ELSE 9e999
    END FROM (SELECT 'sums' AS name UNION SELECT 'search');
    CREATE TABLE sums (
        day INTEGER, principal TEXT, model TEXT, api TEXT, status TEXT, credits TEXT, may_be_charged INTEGER,
        listed INTEGER, images INTEGER, number INTEGER NOT NULL,
        PRIMARY KEY (day, principal, model, api, status, credits, may_be_charged, listed, images)
    ) WITHOUT ROWID;
    CREATE TABLE owners (
        owner TEXT, requested_at REAL, generation TEXT, PRIMARY KEY (owner, requested_at, generation)
    ) WITHOUT ROWID;
    CREATE TRIGGER generation_inserted AFTER INSERT ON generations WHEN NEW.created_at <= {_BUILT_TO["sums"]} BEGIN
        {_counted("NEW", "+ 1")};
        INSERT INTO owners VALUES (NEW.principal, NEW.created_at, NEW.intent_id) ON CONFLICT DO NOTHING;
    END;
    CREATE TRIGGER generation_deleted AFTER DELETE ON generations WHEN OLD.created_at <= {_BUILT_TO["sums"]} BEGIN
        {_counted("OLD", "- 1")};
        DELETE FROM owners WHERE owner = OLD.principal AND requested_at = OLD.created_at AND generation = OLD.intent_id;
    END;
    CREATE TRIGGER generation_no_longer_counted AFTER UPDATE ON generations
    WHEN OLD.created_at <= {_BUILT_TO["sums"]} BEGIN
        {_counted("OLD", "- 1")};
        DELETE FROM owners WHERE owner = OLD.principal AND requested_at = OLD.created_at AND generation = OLD.intent_id
        AND (OLD.principal <> NEW.principal OR OLD.created_at <> NEW.created_at);
    END;
    CREATE TRIGGER generation_counted AFTER UPDATE ON generations WHEN NEW.created_at <= {_BUILT_TO["sums"]} BEGIN
        {_counted("NEW", "+ 1")};
        INSERT INTO owners VALUES (NEW.principal, NEW.created_at, NEW.intent_id) ON CONFLICT DO NOTHING;
    END;
    CREATE TABLE documents (id INTEGER PRIMARY KEY, intent_id TEXT NOT NULL UNIQUE);
    CREATE TABLE unindexed (intent_id TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TRIGGER prompt_inserted AFTER INSERT ON generations
    WHEN NEW.prompt IS NOT NULL AND NEW.created_at <= {_BUILT_TO["search"]} BEGIN
        INSERT INTO unindexed VALUES (NEW.intent_id) ON CONFLICT DO NOTHING;
    END;
    CREATE TRIGGER prompt_updated AFTER UPDATE OF prompt ON generations WHEN NEW.prompt IS NOT OLD.prompt BEGIN
        DELETE FROM unindexed WHERE intent_id = OLD.intent_id;
        UPDATE builds SET is_stale = 1
        WHERE name = 'search' AND EXISTS (SELECT 1 FROM documents WHERE intent_id = OLD.intent_id);
        INSERT INTO unindexed SELECT NEW.intent_id
        WHERE NEW.prompt IS NOT NULL AND NEW.created_at <= {_BUILT_TO["search"]} ON CONFLICT DO NOTHING;
    END;
    CREATE TRIGGER prompt_deleted AFTER DELETE ON generations BEGIN
        DELETE FROM unindexed WHERE intent_id = OLD.intent_id;
        UPDATE builds SET is_stale = 1
        WHERE name = 'search' AND EXISTS (SELECT 1 FROM documents WHERE intent_id = OLD.intent_id);
    END;
    """,  # noqa: S608 - our own names
    """
    ALTER TABLE generations ADD COLUMN is_sandbox INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX generations_of_sandboxes ON generations (api) WHERE is_sandbox;
    """,
]
"""One script for each version; a file's version is the number of scripts run on it. Append only."""


def open_in_memory() -> sqlite3.Connection:
    """Return an empty ledger in memory."""
    db = _connect(":memory:")
    db.execute("PRAGMA foreign_keys = ON")
    _migrate(db)
    return db


def open_database(path: Path, *, busy_seconds: float = BUSY_SECONDS) -> tuple[sqlite3.Connection, bool]:
    """Open the database at ``path``, create it if it is missing, and migrate it.

    Args:
        busy_seconds: Longest wait for another process's transaction.

    Returns:
        The connection, and whether it can only read.

    Raises:
        LedgerError: The file is a symbolic link, or a newer version wrote it; it is not touched.
        sqlite3.Error, OSError: The file is not a database, or the disk fails.
    """
    try:
        private_folder(path.parent)
        _make_private(path)
    except PermissionError:
        return _open_read_only(path), True
    except OSError as error:
        if error.errno == errno.EROFS:
            return _open_read_only(path), True
        raise
    db = _connect(path.absolute().as_uri(), busy_seconds)
    try:
        prepare(db, path)
    except BaseException:
        db.close()
        raise
    return db, False


def _make_private(path: Path) -> None:
    """Create the file if it is missing, and let only its owner read it: SQLite's side files get its permissions.

    An existing file is not opened: on POSIX, closing it would drop the locks of this process's other connections.
    """
    if path.is_symlink():  # another user may have planted it to have their file written, or ours read
        raise LedgerError(
            f"The ledger {display_path(path)} is a symbolic link, which is not followed. Set NANO_BANANA_STATE_DIR to "
            "the folder of the file itself."
        )
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    # On Windows a mode only says whether a file may be written; the folder's access list decides who may read it.
    if sys.platform != "win32" and stat.S_IMODE(path.stat().st_mode) != 0o600:
        path.chmod(0o600)


def _open_read_only(path: Path) -> sqlite3.Connection:
    """Open a file for reading; as immutable where its folder cannot be written either, as WAL needs."""
    for mode in ("mode=ro", "immutable=1"):
        db = _connect(f"{path.absolute().as_uri()}?{mode}")
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


def _connect(uri: str, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    return db


def _refuse_newer(db: sqlite3.Connection, path: Path) -> None:
    if _version(db) > len(MIGRATIONS):
        raise LedgerError(
            f"A newer version of nano-banana-mcp has written the ledger {display_path(path)}. Install that version, or "
            "set NANO_BANANA_STATE_DIR to another folder. The file was not touched."
        )


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Migrate a new or older file, while other processes may do the same.

    Raises:
        LedgerError: The file is a symbolic link, or a newer version wrote it; it is not touched.
        sqlite3.Error: The file is not a database, or the disk fails.
    """
    _refuse_newer(db, path)
    # Many processes may find the file new at the same time; only one of them can turn WAL on.
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
    db.execute("PRAGMA fullfsync = ON")  # on macOS, fsync alone leaves data in the drive's cache
    db.execute("PRAGMA foreign_keys = ON")
    if _version(db) < len(MIGRATIONS):
        _migrate(db)


def _migrate(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        done = _version(db)  # another process may have been faster
        for number, script in enumerate(MIGRATIONS[done:], start=done + 1):
            for statement in _statements(script):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    """Split a script; a trigger has semicolons inside."""
    statement = ""
    for part in script.split(";"):
        statement += f"{part};"
        if part.strip() and sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
