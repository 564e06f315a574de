"""Connections to PostgreSQL that never hang, and the shape of the ledger there, version by version."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from nano_banana_mcp.ledger.base import LedgerBusy, LedgerError

T = TypeVar("T")

CONNECT_SECONDS = 5
LOCK_SECONDS = 5
STATEMENT_SECONDS = 10
SILENT_SECONDS = 12.0
"""So long may a statement take as seen from here, where the server itself does not answer at all."""
AWAY_SECONDS = 1.0
"""After a connection could not be made, none is tried for so long: those in line are told at once."""

# A dead peer is noticed within some ten seconds, also by who only listens.
_LIVELY = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}

_SESSION = (
    f"SET search_path = nano_banana; SET lock_timeout = '{LOCK_SECONDS}s'; "
    f"SET statement_timeout = '{STATEMENT_SECONDS}s'; SET idle_in_transaction_session_timeout = '30s'"
)

_UNUSABLE = "The ledger of NANO_BANANA_LEDGER_URL cannot be used"

# Advisory locks are numbers that all users of a database share; these are "nb", and what is locked.
MIGRATION_LOCK = 0x6E62_0001
SUBMIT_LOCK = 0x6E62_0002
PRUNE_LOCK = 0x6E62_0003

# One script a version. Never change one: add another. Times are Unix times, as everywhere in the ledger, but for what
# only the database's own clock may judge.
MIGRATIONS = [
    """
    CREATE TABLE generations (
        intent_id text PRIMARY KEY, task_id text,
        principal text NOT NULL, request_id text, request_hash text,
        status text NOT NULL, prompt text, model text, api text, options text,
        images text NOT NULL, expects_callback boolean NOT NULL, credits_consumed text, message text,
        created_at float8 NOT NULL, submitted_at float8, open_at float8, finished_at float8,
        lease_holder text, lease_fence bigint NOT NULL DEFAULT 0
    );
    CREATE INDEX ON generations (task_id) WHERE task_id IS NOT NULL;
    CREATE UNIQUE INDEX ON generations (principal, api, request_id) WHERE request_id IS NOT NULL;
    CREATE INDEX ON generations (created_at);
    CREATE INDEX ON generations (model, finished_at) WHERE status = 'success';
    CREATE INDEX ON generations (submitted_at) WHERE finished_at IS NULL AND task_id IS NOT NULL;
    CREATE TABLE images (
        url text NOT NULL, intent_id text NOT NULL REFERENCES generations ON DELETE CASCADE
    );
    CREATE UNIQUE INDEX ON images (intent_id, hashtextextended(url, 0));
    CREATE INDEX ON images USING hash (url);
    CREATE TABLE pictures (
        intent_id text REFERENCES generations ON DELETE CASCADE, number int, mime_type text NOT NULL,
        data bytea NOT NULL, PRIMARY KEY (intent_id, number)
    );
    ALTER TABLE pictures ALTER data SET STORAGE EXTERNAL;
    CREATE TABLE replicas (holder text PRIMARY KEY, alive_until timestamptz NOT NULL);
    CREATE TABLE secrets (name text PRIMARY KEY, value text NOT NULL);
    """,
]


class Connection(psycopg.Connection[dict[str, Any]]):
    """psycopg's, which gives up on a server that says nothing."""

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """As psycopg's, with a limit; a connection that has reached it is of no use any more."""
        try:
            return super().wait(_limited(gen), *arguments, **options)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


def _limited(waits: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
    """The steps of a statement, which psycopg goes on with several times a second, for so long as they may take."""
    deadline = time.monotonic() + SILENT_SECONDS
    try:
        wanted = next(waits)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                raise psycopg.OperationalError("the server does not answer")
            wanted = waits.send(ready)
    except StopIteration as done:
        result: T = done.value
        return result


class Database:
    """Where the ledger is, and whether it could be reached lately."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._away_until = float("-inf")
        self._away: psycopg.Error | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """What to connect with; what the URL says wins."""
        ours = {"connect_timeout": CONNECT_SECONDS, "application_name": "nano-banana-mcp", **_LIVELY}
        return {**ours, **conninfo_to_dict(self._url)}

    def connect(self) -> Connection:
        """A connection to the ledger, made there if there is none, and brought up to date.

        Raises:
            LedgerBusy: it cannot be reached.
            LedgerError: it is of a newer version (it is not touched), or cannot be used.
        """
        if self._away is not None and time.monotonic() < self._away_until:
            raise self.trouble(self._away)
        try:
            return self._connect()
        except psycopg.Error as error:
            trouble = self.trouble(error)
            if isinstance(trouble, LedgerBusy):
                self._away_until = time.monotonic() + AWAY_SECONDS
                self._away = error
            raise trouble from error

    def trouble(self, error: psycopg.Error, *, lost: bool = False) -> LedgerError:
        """``error`` in words for callers, and in the database's own, without the password, for its operator.

        Args:
            lost: Whether the connection is gone.
        """
        detail = " ".join(str(error).split())
        password = self.parameters.get("password")
        if password:
            detail = detail.replace(password, "***").replace(quote(password, safe=""), "***")
        if lost or _passes(error):
            return LedgerBusy(f"{_UNUSABLE}: its database is away, or too busy.", detail=detail)
        return LedgerError(f"{_UNUSABLE}: its database refuses what is asked of it.", detail=detail)

    def _connect(self) -> Connection:
        db = Connection.connect(autocommit=True, row_factory=dict_row, **self.parameters)
        try:
            db.execute(_SESSION.encode())
            if _version(db) != len(MIGRATIONS):
                _migrate(db)
        except BaseException:
            db.close()
            raise
        return db


def _passes(error: psycopg.Error) -> bool:
    """Whether the same may well be possible later: no connection, no room, a lock, a shutdown."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate[:2] in ("08", "25", "28", "3D", "40", "53", "55", "57", "58")


def _version(db: Connection) -> int:
    there = db.execute("SELECT to_regclass('nano_banana.version') IS NOT NULL AS known").fetchone()
    if there is None or not there["known"]:
        return 0
    row = db.execute("SELECT number FROM version").fetchone()
    version = 0 if row is None else int(row["number"])
    if version > len(MIGRATIONS):
        raise LedgerError(
            "A newer version of nano-banana-mcp has written the ledger of NANO_BANANA_LEDGER_URL. Install that "
            "version, or name another database. It was not touched."
        )
    return version


def _migrate(db: Connection) -> None:
    # Locked before the transaction: what another process has made until then is then seen whole.
    db.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
    with db.transaction():
        done = _version(db)  # another process may have been faster
        if done == 0:
            made = db.execute("SELECT to_regnamespace('nano_banana') IS NOT NULL AS made").fetchone()
            if made is None or not made["made"]:  # a role that may not make it may be given one that is made
                db.execute("CREATE SCHEMA nano_banana")
            db.execute("CREATE TABLE version (number int NOT NULL)")
            db.execute("INSERT INTO version VALUES (0)")
        for script in MIGRATIONS[done:]:
            db.execute(script.encode())
        db.execute("UPDATE version SET number = %s", [len(MIGRATIONS)])
    db.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])
