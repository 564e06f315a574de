"""The ledger in PostgreSQL, shared by replicas that have no disk in common."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import secrets
import threading
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import psycopg
from psycopg.pq import TransactionStatus

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.quotas import Check
from nano_banana_mcp.generations.uploads import Upload
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger.errors import LedgerError
from nano_banana_mcp.ledger.postgres_connection import (
    PRUNE_LOCK,
    STEP_LOCK,
    SUBMIT_LOCK,
    TRIGRAM_INDEX,
    UPLOAD_LOCK,
    Connection,
    Database,
)
from nano_banana_mcp.ledger.queries import MAX_SCANNED_ROWS, NEWEST_ROWS, Filters, SqlLedger, Values, is_short
from nano_banana_mcp.ledger.rows import UPSERT, to_row
from nano_banana_mcp.ledger.sums import COLUMNS, POSTGRES_DAY

CHANNEL = "nano_banana"
"""Notifications are ``<sender> <generation id>``, as in every version before."""

# The notification is part of the transaction, and only sent for a row that was really written.
_UPSERT = f"{UPSERT} RETURNING pg_notify(:channel, :payload)"


class PostgresLedger(SqlLedger):
    """The ledger in a database, over a pool of connections. May be used from several threads.

    Args:
        database: Where it is.
        sender: Name of this process in notifications.

    Raises:
        LedgerBusy: The database is away, or too busy; every method raises it.
        LedgerError: The database cannot be used.
    """

    stores_images = True

    _ERRORS = (psycopg.Error,)
    _BEGIN = "BEGIN"
    _POSITION = "strpos"
    _DAY = POSTGRES_DAY
    _DETAIL_TABLES: ClassVar[tuple[str, ...]] = ("images", "pictures")

    def __init__(self, database: Database, sender: str | None = None) -> None:
        self._database = database
        self._sender = sender or secrets.token_hex(8)
        self._current = threading.local()
        self._pool = database.open_pool()
        self._execute = self._execute_borrowed

    def check(self) -> str:
        """See :class:`SqlLedger`."""
        row = self._fetch(
            "SELECT count(*) AS count, count(*) - count(finished_at) AS unfinished, "
            "current_setting('server_version') AS version FROM generations"
        )[0]
        name = "generation" if row["count"] == 1 else "generations"
        return f"{row['count']} {name}, {row['unfinished']} of them open or unknown (PostgreSQL {row['version']})"

    def probe(self) -> None:
        """See :class:`SqlLedger`."""
        with self._transaction():
            self._fetch("UPDATE version SET number = number")

    def close(self) -> None:
        """See :class:`SqlLedger`."""
        self._pool.close(timeout=1.0)

    def save_image(self, generation_id: str, number: int, image: EncodedImage) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        self._fetch(
            "INSERT INTO pictures (intent_id, number, mime_type, data) "
            "VALUES (:intent_id, :number, :mime_type, :data) ON CONFLICT (intent_id, number) "
            "DO UPDATE SET mime_type = excluded.mime_type, data = excluded.data",
            {"intent_id": generation_id, "number": number, "mime_type": image.mime_type, "data": image.data},
        )

    def load_image(self, generation_id: str, number: int) -> EncodedImage | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        rows = self._fetch(
            "SELECT data, mime_type FROM pictures WHERE intent_id = :intent_id AND number = :number",
            {"intent_id": generation_id, "number": number},
        )
        return EncodedImage(bytes(rows[0]["data"]), rows[0]["mime_type"]) if rows else None

    def load_upload(self, reference_id: str) -> bytes | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        rows = self._fetch(
            "SELECT data FROM uploads WHERE reference_id = :reference_id", {"reference_id": reference_id}
        )
        return bytes(rows[0]["data"]) if rows and rows[0]["data"] is not None else None

    def secret(self, name: str, fresh: str) -> str:
        """Return the secret of this name that all replicas share; ``fresh`` becomes the first one."""
        values = {"name": name, "value": fresh}
        self._fetch("INSERT INTO secrets (name, value) VALUES (:name, :value) ON CONFLICT DO NOTHING", values)
        secret = self.known_secret(name)
        assert secret is not None
        return secret

    def known_secret(self, name: str) -> str | None:
        """Return the secret of this name, if there is one."""
        rows = self._fetch("SELECT value FROM secrets WHERE name = :name", {"name": name})
        return rows[0]["value"] if rows else None

    def _lock_begin(self, generation: Generation, check: Check | None) -> None:
        locks = [SUBMIT_LOCK] if check is not None else []
        name = generation.request_id or generation.batch_id
        if name is not None:
            # Named as in earlier versions. More requests than necessary share one, which is harmless.
            names = repr((generation.principal, generation.api, name.partition("#")[0]))
            digest = hashlib.sha256(names.encode("utf-8", "surrogatepass")).digest()
            locks.append(int.from_bytes(digest[:8], signed=True))
        for number in locks:
            self._fetch("SELECT pg_advisory_xact_lock(:number)", {"number": number})

    def _write(self, generation: Generation) -> None:
        payload = f"{self._sender} {generation.generation_id}"
        self._fetch(_UPSERT, {**to_row(generation), "channel": CHANNEL, "payload": payload})

    def _write_upload(self, upload: Upload, data: bytes) -> None:
        super()._write_upload(upload, data)
        values = {"reference_id": upload.reference_id, "data": data}
        self._fetch("UPDATE uploads SET data = :data WHERE reference_id = :reference_id", values)
        payload = f"{self._sender} {upload.reference_id}"
        self._fetch("SELECT pg_notify(:channel, :payload)", {"channel": CHANNEL, "payload": payload})

    def _lock_uploads(self) -> None:
        self._fetch("SELECT pg_advisory_xact_lock(:number)", {"number": UPLOAD_LOCK})

    def _lock_prune(self) -> bool:
        lock = self._fetch("SELECT pg_try_advisory_xact_lock(:number) AS acquired", {"number": PRUNE_LOCK})
        return bool(lock[0]["acquired"])

    def is_built(self, name: Literal["sums", "search"]) -> bool:
        """See :class:`SqlLedger`."""
        if name == "sums":
            return super().is_built(name)
        sql = "SELECT indisvalid AS is_valid FROM pg_index WHERE indexrelid = to_regclass(:name)"
        rows = self._fetch(sql, {"name": TRIGRAM_INDEX})
        return bool(rows) and rows[0]["is_valid"]

    def combine_sums(self) -> None:
        """Replace the rows that were added for single changes by their sums."""
        self._fetch(
            f"WITH rows AS (DELETE FROM sums RETURNING *) INSERT INTO sums ({COLUMNS}, number) "  # noqa: S608 - our own names
            f"SELECT {COLUMNS}, sum(number) FROM rows GROUP BY {COLUMNS} HAVING sum(number) <> 0"
        )

    def _lock_generations(self) -> None:
        self._fetch("SELECT pg_advisory_xact_lock(:number)", {"number": STEP_LOCK})

    def _newest_rows(self, filters: Filters, rows: int = MAX_SCANNED_ROWS) -> str:
        # An array, since the planner would read all rows to join them with a subquery.
        return super()._newest_rows(filters, rows).replace("IN (SELECT", "= ANY (ARRAY(SELECT", 1) + ")"

    def _owns_few(self, filters: Filters) -> bool:
        if filters.get("principal") is None:
            return False
        sql = "SELECT 1 FROM generations WHERE principal = :principal LIMIT :rows"
        return len(self._fetch(sql, {"principal": filters["principal"], "rows": NEWEST_ROWS})) < NEWEST_ROWS

    def _newest(self, limit: int, offset: int, filters: Filters) -> list[Generation]:
        search = filters.get("search")
        if search is None or not (is_short(search) or self.is_built("search")):
            return super()._newest(limit, offset, filters)
        where, values = self._conditions({**filters, "search": None})
        values = {**values, "search": search, "limit": limit + offset}
        has_text = f"{where} AND {self._HAS_TEXT.format(position=self._POSITION)}"
        if is_short(search):
            owner = "TRUE" if filters.get("principal") is None else "principal = :principal"
            newest = f"SELECT * FROM generations WHERE {owner} ORDER BY created_at DESC LIMIT {MAX_SCANNED_ROWS}"  # noqa: S608 - our own conditions
            matches = self._select(
                f"FROM ({newest}) AS newest {has_text} ORDER BY created_at DESC, intent_id LIMIT :limit", values
            )
            return matches[offset:]
        newest = self._newest_rows(filters, NEWEST_ROWS)
        matches = self._all(f"{has_text} AND {newest} ORDER BY created_at DESC, intent_id LIMIT :limit", **values)
        if len(matches) == limit + offset or self._owns_few(filters):
            return matches[offset:]
        # Found before it is ordered: the planner cannot know how rare a text is, and would read all rows by their time.
        matches = self._select(
            f"FROM (SELECT * FROM generations {has_text} AND {self._indexed(search, values)} OFFSET 0) AS matches "  # noqa: S608 - our own conditions
            "ORDER BY created_at DESC, intent_id LIMIT :limit",
            values,
        )
        return matches[offset:]

    def _indexed(self, search: str, values: dict[str, Any]) -> str:
        if not self.is_built("search"):
            return "TRUE"
        return (
            "(trigrams(lower(prompt)) @> trigrams(lower(:search)) "
            "OR task_id = :search OR intent_id = :search OR batch_id = :search)"
        )

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection]:
        connection: Connection | None = getattr(self._current, "connection", None)
        if connection is not None:
            yield connection
            return
        with self._database.borrow(self._pool) as connection:
            self._current.connection = connection
            try:
                yield connection
            finally:
                self._current.connection = None

    @property
    def _in_transaction(self) -> bool:
        with self._connection() as connection:
            return not connection.closed and connection.info.transaction_status in (
                TransactionStatus.INTRANS,
                TransactionStatus.INERROR,
            )

    def _execute_borrowed(self, sql: str, values: Values) -> psycopg.Cursor[dict[str, Any]]:
        with self._connection() as connection:
            return connection.execute(_translated_placeholders(sql), _escaped(values))

    def _translated(self, error: Exception) -> LedgerError:
        assert isinstance(error, psycopg.Error)
        return self._database.translated(error)


@functools.lru_cache(maxsize=100)
def _translated_placeholders(sql: str) -> bytes:
    """``:name`` as psycopg writes it."""
    return re.sub(r":(\w+)", r"%(\1)s", sql).encode()


# Characters that UTF-8 or PostgreSQL cannot store are written as \x01 and four digits; so is \x01 itself. Connections
# undo that in the rows that they return.
_UNSTORABLE = re.compile("[\0\x01\ud800-\udfff]")


def _escaped(values: Values) -> dict[str, Any]:
    return {name: _escape(value) if isinstance(value, str) else value for name, value in values.items()}


def _escape(text: str) -> str:
    return _UNSTORABLE.sub(lambda match: f"\x01{ord(match[0]):04x}", text)
