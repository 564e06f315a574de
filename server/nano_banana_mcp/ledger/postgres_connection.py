"""Connections to PostgreSQL that never hang, and the schema of the ledger there, version by version."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from nano_banana_mcp.ledger.errors import LedgerBusy, LedgerError
from nano_banana_mcp.ledger.sums import POSTGRES_DAY, values_of

T = TypeVar("T")

CONNECT_SECONDS = 5
LOCK_SECONDS = 5
STATEMENT_SECONDS = 10
SILENT_SECONDS = 12.0
"""Longest wait for a statement, where the server does not answer at all."""
AWAY_SECONDS = 1.0
"""After a failed connection, further attempts fail at once for this time, so that calls do not queue."""
MAX_CONNECTIONS = 4
"""Connections of one process for queries; LISTEN and the sweep lock have one each besides."""

# A dead peer is noticed within some ten seconds, also by a connection that only listens.
_KEEPALIVE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}

_SESSION = (
    f"SET search_path = nano_banana; SET lock_timeout = '{LOCK_SECONDS}s'; "
    f"SET statement_timeout = '{STATEMENT_SECONDS}s'; SET idle_in_transaction_session_timeout = '30s'; "
    # A plan for any value would read all rows for the few of one caller.
    "SET plan_cache_mode = force_custom_plan"
)

_UNUSABLE = "The ledger of NANO_BANANA_LEDGER_URL cannot be used"

# Advisory locks are numbers that all users of a database share; these are "nb" and a counter.
MIGRATION_LOCK = 0x6E62_0001
SUBMIT_LOCK = 0x6E62_0002
PRUNE_LOCK = 0x6E62_0003
SWEEP_LOCK = 0x6E62_0004
UPLOAD_LOCK = 0x6E62_0005
BUILD_LOCK = 0x6E62_0006
STEP_LOCK = 0x6E62_0007

# The pool logs every failed attempt with the database's words, which name hosts and users; this module reports them.
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)


_ESCAPED = re.compile("\x01([0-9a-f]{4})")


def _sum_of(row: str) -> str:
    """Part of migrations: it must not change."""
    return ", ".join(values_of(row, POSTGRES_DAY, "strpos").values())


# One script for each version; append only. A replica of the version before refuses a higher number, so during an
# upgrade both only run side by side while there is no new script. Times are Unix times. The columns lease_holder and
# lease_fence and the table replicas belong to version 0.1; they are unused now.
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
    """
    ALTER TABLE generations ADD COLUMN batch_id text;
    CREATE INDEX ON generations (batch_id) WHERE batch_id IS NOT NULL;
    """,
    "ALTER TABLE generations ADD COLUMN save_as text, ADD COLUMN ended_at float8",
    # Images that people upload. Their bytes exist nowhere else, so they are here, too.
    """
    CREATE TABLE upload_requests (
        upload_id text PRIMARY KEY, access_grant text NOT NULL UNIQUE, principal text NOT NULL, purpose text,
        max_uploads int NOT NULL, used int NOT NULL DEFAULT 0, created_at float8 NOT NULL, expires_at float8 NOT NULL
    );
    CREATE INDEX ON upload_requests (expires_at);
    CREATE TABLE uploads (
        reference_id text PRIMARY KEY, upload_id text NOT NULL, principal text NOT NULL, mime_type text NOT NULL,
        width int NOT NULL, height int NOT NULL, created_at float8 NOT NULL, data bytea
    );
    CREATE INDEX ON uploads (upload_id);
    CREATE INDEX ON uploads (principal, created_at);
    ALTER TABLE uploads ALTER data SET STORAGE EXTERNAL;
    CREATE TABLE upload_pieces (
        upload_id text NOT NULL REFERENCES upload_requests ON DELETE CASCADE, image int NOT NULL, piece int NOT NULL,
        data bytea NOT NULL, PRIMARY KEY (upload_id, image, piece)
    );
    """,
    "CREATE TABLE favorites (intent_id text PRIMARY KEY REFERENCES generations ON DELETE CASCADE)",
    # Sums, see sums.py. Each change adds a row, so that transactions do not wait for one another; the rows are combined
    # in the background. Generations up to `built_to` (their time) are included; a ledger with rows is built in steps.
    f"""
    CREATE TABLE builds (name text PRIMARY KEY, built_to float8 NOT NULL);
    INSERT INTO builds
    SELECT 'sums', CASE WHEN EXISTS (SELECT 1 FROM generations) THEN '-infinity'::float8 ELSE 'infinity'::float8 END;
    CREATE TABLE sums (
        day int NOT NULL, principal text NOT NULL, model text NOT NULL, api text NOT NULL, status text NOT NULL,
        credits text NOT NULL, may_be_charged int NOT NULL, listed int NOT NULL, images int NOT NULL,
        number int NOT NULL
    );
    CREATE INDEX ON sums (day);
    CREATE FUNCTION count_generation() RETURNS trigger LANGUAGE plpgsql SET search_path = nano_banana, pg_catalog AS $$
    DECLARE
        built float8 := (SELECT built_to FROM builds WHERE name = 'sums');
    BEGIN
        IF built < 'infinity' THEN  -- a step of the build waits for this transaction, and this one for the step
            PERFORM pg_advisory_xact_lock_shared({STEP_LOCK});
            built := (SELECT built_to FROM builds WHERE name = 'sums');
        END IF;
        IF TG_OP <> 'INSERT' AND OLD.created_at <= built THEN
            INSERT INTO sums VALUES ({_sum_of("OLD")}, -1);
        END IF;
        IF TG_OP <> 'DELETE' AND NEW.created_at <= built THEN
            INSERT INTO sums VALUES ({_sum_of("NEW")}, 1);
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER generation_inserted_or_deleted AFTER INSERT OR DELETE ON generations
    FOR EACH ROW EXECUTE FUNCTION count_generation();
    CREATE TRIGGER generation_updated AFTER UPDATE ON generations FOR EACH ROW
    WHEN (({_sum_of("OLD")}, OLD.created_at) IS DISTINCT FROM ({_sum_of("NEW")}, NEW.created_at))
    EXECUTE FUNCTION count_generation();
    CREATE FUNCTION trigrams(text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
        SELECT coalesce(array_agg(DISTINCT substr($1, first, 3)), '{{}}')
        FROM generate_series(1, length($1) - 2) AS first
    $$;
    """,  # noqa: S608 - our own names
    """
    ALTER TABLE generations ADD COLUMN is_sandbox boolean NOT NULL DEFAULT false;
    CREATE INDEX ON generations (api) WHERE is_sandbox;
    """,
]

TRIGRAM_INDEX = "generations_by_trigram"

BACKGROUND_INDEXES = {
    "generations_by_principal": "generations (principal, created_at)",
    TRIGRAM_INDEX: "generations USING gin (trigrams(lower(prompt))) WITH (fastupdate = off)",
}
"""Indexes that are built without blocking anything after the ledger was opened."""


class Connection(psycopg.Connection[dict[str, Any]]):
    """A connection that gives up on a server that does not answer."""

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """As psycopg's, with a time limit; a connection that has reached it is closed."""
        try:
            return super().wait(_limited(gen), *arguments, **options)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


Pool = ConnectionPool[Connection]


def _limited(steps: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
    """The steps of a statement, which psycopg resumes several times a second, for at most :data:`SILENT_SECONDS`."""
    deadline = time.monotonic() + SILENT_SECONDS
    try:
        awaited = next(steps)
        while True:
            ready = yield awaited
            if not ready and time.monotonic() > deadline:
                raise psycopg.OperationalError("the server does not answer")
            awaited = steps.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result


class Database:
    """Where the ledger is, and whether it was reachable lately.

    Args:
        url: ``postgresql://…``
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._away_until = float("-inf")
        self._last_error: psycopg.Error | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of a connection; those in the URL win."""
        defaults = {"connect_timeout": CONNECT_SECONDS, "application_name": "nano-banana-mcp", **_KEEPALIVE}
        return {**defaults, **conninfo_to_dict(self._url)}

    def open_pool(self) -> Pool:
        """Create or migrate the ledger, and return a pool of connections to it.

        Raises:
            LedgerBusy: The database cannot be reached.
            LedgerError: A newer version wrote the ledger (it is not touched), or it cannot be used.
        """
        self._raise_if_away()
        try:
            self._prepare()
        except psycopg.Error as error:
            raise self._noted(error) from error
        return ConnectionPool(
            kwargs={"autocommit": True, "row_factory": _unescaped_dict_row, **self.parameters},
            connection_class=Connection,
            configure=_configure,
            check=ConnectionPool.check_connection,
            min_size=1,
            max_size=MAX_CONNECTIONS,
            timeout=CONNECT_SECONDS,
            reconnect_timeout=CONNECT_SECONDS,
            open=True,
        )

    @contextmanager
    def borrow(self, pool: Pool) -> Iterator[Connection]:
        """Lend a connection of the pool for the block.

        Raises:
            LedgerBusy: No connection became free in time.
        """
        self._raise_if_away()
        try:
            connection = pool.getconn()
        except psycopg.Error as error:
            raise self._noted(error) from error
        try:
            yield connection
        finally:
            pool.putconn(connection)

    def translated(self, error: psycopg.Error) -> LedgerError:
        """Return ``error`` as one of the ledger; its ``for_operator`` has the database's words without the password."""
        detail = " ".join(str(error).split())
        password = self.parameters.get("password")
        if password:
            detail = detail.replace(password, "***").replace(quote(password, safe=""), "***")
        if _is_passing(error):
            return LedgerBusy(f"{_UNUSABLE}: its database is away, or too busy.", detail=detail)
        return LedgerError(f"{_UNUSABLE}: its database refuses what is asked of it.", detail=detail)

    def _raise_if_away(self) -> None:
        if self._last_error is not None and time.monotonic() < self._away_until:
            raise self.translated(self._last_error)

    def _noted(self, error: psycopg.Error) -> LedgerError:
        translated = self.translated(error)
        if isinstance(translated, LedgerBusy):
            self._away_until = time.monotonic() + AWAY_SECONDS
            self._last_error = error
        return translated

    def _prepare(self) -> None:
        with Connection.connect(autocommit=True, row_factory=dict_row, **self.parameters) as db:
            _configure(db)
            if _version(db) != len(MIGRATIONS):
                _migrate(db)


def _configure(connection: Connection) -> None:
    connection.execute(_SESSION.encode())


def _unescaped_dict_row(cursor: psycopg.Cursor[Any]) -> Callable[[Sequence[Any]], dict[str, Any]]:
    """Rows by column name, with the characters that :mod:`nano_banana_mcp.ledger.postgres` escapes."""
    make_row = dict_row(cursor)
    return lambda values: make_row([_unescape(value) if isinstance(value, str) else value for value in values])


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if "\x01" in text else text


def _is_passing(error: psycopg.Error) -> bool:
    """Whether the same may succeed later: no connection, no room, a lock, a shutdown."""
    if isinstance(error, PoolTimeout):
        return True
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate[:2] in ("08", "25", "28", "3D", "40", "53", "55", "57", "58")


def _version(db: Connection) -> int:
    table = db.execute("SELECT to_regclass('nano_banana.version') IS NOT NULL AS present").fetchone()
    if table is None or not table["present"]:
        return 0
    row = db.execute("SELECT number FROM version").fetchone()
    version = 0 if row is None else int(row["number"])
    if version > len(MIGRATIONS):
        raise LedgerError(
            "A newer version of nano-banana-mcp has written the ledger of NANO_BANANA_LEDGER_URL. Install that "
            "version, or use another database. It was not touched."
        )
    return version


def _migrate(db: Connection) -> None:
    # Locked before the transaction, so that the transaction sees all that another process has created.
    db.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
    with db.transaction():
        done = _version(db)  # another process may have been faster
        if done == 0:
            schema = db.execute("SELECT to_regnamespace('nano_banana') IS NOT NULL AS present").fetchone()
            if schema is None or not schema["present"]:  # a role that may not create it may be given one
                db.execute("CREATE SCHEMA nano_banana")
            db.execute("CREATE TABLE version (number int NOT NULL)")
            db.execute("INSERT INTO version VALUES (0)")
        for script in MIGRATIONS[done:]:
            db.execute(script.encode())
        db.execute("UPDATE version SET number = %s", [len(MIGRATIONS)])
    db.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])
