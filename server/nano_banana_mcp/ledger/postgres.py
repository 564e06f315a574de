"""The ledger in PostgreSQL, shared by replicas that have no disk in common."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.quotas import Check
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger.leases import Leases
from nano_banana_mcp.ledger.postgres_connection import (
    PRUNE_LOCK,
    SUBMIT_LOCK,
    Connection,
    Database,
)
from nano_banana_mcp.ledger.queries import SqlLedger, Values
from nano_banana_mcp.ledger.rows import UPSERT, to_row

CHANNEL = "nano_banana"

# Who had a lease and lost it may not overwrite what the present holder saw; an end is news from anybody. Those who
# listen are told in the same transaction, and only of a row that was really written.
_UPSERT = (
    f"{UPSERT} AND (excluded.finished_at IS NOT NULL OR generations.lease_fence <= "
    "COALESCE(CAST(:fence AS bigint), generations.lease_fence)) RETURNING pg_notify(:channel, :news)"
)


class PostgresLedger(SqlLedger):
    """A connection to the ledger in a database, made anew whenever it was lost.

    Args:
        leases: Of this process, where it takes any.

    Raises:
        LedgerBusy: the database is away, or too busy; so do all methods.
        LedgerError: it cannot be used.
    """

    _BEGIN = "BEGIN"
    _POSITION = "strpos"

    def __init__(self, database: Database, leases: Leases | None = None) -> None:
        self._database = database
        self.leases = leases or Leases()
        self._db = database.connect()

    def check(self) -> str:
        """In words, how the database is."""
        row = self._fetch(
            "SELECT count(*) AS count, count(*) - count(finished_at) AS opened, "
            "current_setting('server_version') AS version FROM generations"
        )[0]
        return f"{row['count']} generations, {row['opened']} of them open or unknown (PostgreSQL {row['version']})"

    def probe(self) -> None:
        """See :class:`~nano_banana_mcp.ledger.queries.SqlLedger`."""
        self.renew()

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def encoded(self, generation_id: str, number: int) -> EncodedImage | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        rows = self._fetch(
            "SELECT data, mime_type FROM pictures WHERE intent_id = :intent_id AND number = :number",
            {"intent_id": generation_id, "number": number},
        )
        return EncodedImage(bytes(rows[0]["data"]), rows[0]["mime_type"]) if rows else None

    def secret(self, name: str, fresh: str) -> str:
        """The secret of this name that all replicas share: ``fresh``, if there was none."""
        names = {"name": name, "value": fresh}
        self._fetch("INSERT INTO secrets (name, value) VALUES (:name, :value) ON CONFLICT DO NOTHING", names)
        known = self.known_secret(name)
        assert known is not None
        return known

    def known_secret(self, name: str) -> str | None:
        """The secret of this name, where there is one."""
        rows = self._fetch("SELECT value FROM secrets WHERE name = :name", {"name": name})
        return rows[0]["value"] if rows else None

    def take(self, generation_id: str) -> bool:
        """Take the lease of a task. Returns whether it is ours."""
        return self.leases.take(self._fetch, generation_id)

    def renew(self) -> None:
        """Keep all leases of this process."""
        self.leases.renew(self._fetch)

    def release(self, generation_id: str) -> None:
        """Let another process take it."""
        self.leases.release(self._fetch, generation_id)

    def leave(self) -> None:
        """Let others take all leases of this process."""
        self.leases.leave(self._fetch)

    def _serialise(self, intent: Generation, check: Check | None) -> None:
        locks = [SUBMIT_LOCK] if check is not None else []
        if intent.request_id is not None:
            whole = repr((intent.principal, intent.api, intent.request_id)).encode("utf-8", "surrogatepass")
            locks.append(int.from_bytes(hashlib.sha256(whole).digest()[:8], signed=True))
        for number in locks:
            self._fetch("SELECT pg_advisory_xact_lock(:number)", {"number": number})

    def _write(self, generation: Generation, encoded_images: dict[int, EncodedImage]) -> None:
        fence = self.leases.fence(generation.generation_id)
        news = f"{self.leases.holder} {generation.generation_id}"
        self._fetch(_UPSERT, {**to_row(generation), "fence": fence, "channel": CHANNEL, "news": news})
        self._run(
            "INSERT INTO pictures (intent_id, number, mime_type, data) "
            "VALUES (:intent_id, :number, :mime_type, :data) ON CONFLICT DO NOTHING",
            [
                {
                    "intent_id": generation.generation_id,
                    "number": number,
                    "mime_type": encoded.mime_type,
                    "data": encoded.data,
                }
                for number, encoded in encoded_images.items()
            ],
        )
        if generation.finished:
            self.leases.ended(generation.generation_id)

    def _prunes_alone(self) -> bool:
        lock = self._fetch("SELECT pg_try_advisory_xact_lock(:number) AS ours", {"number": PRUNE_LOCK})
        return bool(lock[0]["ours"])

    def _image_sizes(self) -> dict[str, int]:
        rows = self._fetch("SELECT intent_id, sum(length(data)) AS size FROM pictures GROUP BY intent_id")
        return {row["intent_id"]: int(row["size"]) for row in rows}

    def _connected(self) -> Connection:
        if self._db.closed:
            self._db = self._database.connect()
        return self._db

    @property
    def _in_transaction(self) -> bool:
        return not self._db.closed and self._db.info.transaction_status in (
            TransactionStatus.INTRANS,
            TransactionStatus.INERROR,
        )

    def _fetch(self, sql: str, values: Values | None = None) -> list[Any]:
        with self._trouble():
            cursor = self._connected().execute(_translated(sql), _kept(values or {}))
            return [_as_given(row) for row in cursor] if cursor.description else []

    def _run(self, sql: str, many: Iterable[Values]) -> None:
        with self._trouble():
            self._connected().cursor().executemany(_translated(sql), [_kept(values) for values in many])

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        self.lost = False
        try:
            yield
        except psycopg.Error as error:
            self.lost = self._db.closed
            raise self._database.trouble(error, lost=self.lost) from error


@functools.lru_cache(maxsize=100)
def _translated(sql: str) -> bytes:
    """``:name`` as psycopg writes it."""
    return re.sub(r":(\w+)", r"%(\1)s", sql).encode()


# Text that UTF-8 or PostgreSQL has no room for is written as \x01 and four digits; so is \x01 itself.
_ODD = re.compile("[\0\x01\ud800-\udfff]")
_WRITTEN = re.compile("\x01([0-9a-f]{4})")


def _kept(values: Values) -> dict[str, Any]:
    return {name: _keep(value) if isinstance(value, str) else value for name, value in values.items()}


def _keep(text: str) -> str:
    return _ODD.sub(lambda odd: f"\x01{ord(odd[0]):04x}", text)


def _as_given(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _WRITTEN.sub(lambda digits: chr(int(digits[1], 16)), value)
        if isinstance(value, str) and "\x01" in value
        else value
        for name, value in row.items()
    }
