"""The ledger's file: SQLite, shared by all server processes of one user.

Synchronous, and to be used from one thread at a time; :mod:`nano_banana_mcp.generations.durable` sees to both.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from nano_banana_mcp.generations.ledger import MOST_LATENCIES, LedgerBusy, LedgerError, latency, met_elsewhere
from nano_banana_mcp.generations.limits import Check, Usage, counted_since, usage_of
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.picture_files import PictureFiles
from nano_banana_mcp.generations.rows import SELECT, UPSERT, from_row, to_row
from nano_banana_mcp.generations.schema import open_database
from nano_banana_mcp.images.picture import Picture

FILE_NAME = "ledger.sqlite3"

_OF_REQUEST = "WHERE request_id = ? AND api IS ? AND principal = ?"


class SqliteLedger:
    """One connection to the ledger in ``folder``.

    Raises:
        LedgerError: the file cannot be used; so do all methods, whenever the disk fails them.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._pictures = PictureFiles(folder / "pictures")
        with self._trouble():
            self._db, self.read_only = open_database(self._path)
            self._identity = self._on_disk()

    @property
    def still_there(self) -> bool:
        """Whether the file that was opened is the one that has its name. Somebody may have moved it away."""
        return self._on_disk() == self._identity

    def _on_disk(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def check(self) -> str:
        """In words, how the file is. Raises where SQLite finds it spoiled."""
        with self._trouble():
            verdict = str(self._db.execute("PRAGMA quick_check(1)").fetchone()[0])
            if verdict != "ok":
                raise LedgerError(f"The ledger {self._path} is spoiled: {verdict}. Move it away, and keep it.")
            count, opened = self._db.execute(
                "SELECT count(*), count(*) - count(finished_at) FROM generations"
            ).fetchone()
        return f"{count} generations, {opened} of them open or unknown"

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def begin(self, intent: Generation, check: Check | None = None) -> Generation:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        with self._transaction() as db:
            if intent.request_id is not None:
                row = db.execute(SELECT + _OF_REQUEST, (intent.request_id, intent.api, intent.principal)).fetchone()
                if row is not None:
                    return from_row(row)
            if check is not None:
                check(lambda principal: self._usage(principal, intent))
            db.execute(UPSERT, to_row(intent))
        return intent

    def _usage(self, principal: str | None, intent: Generation) -> Usage:
        counted = self._all(
            "WHERE created_at >= ?1 AND (?2 IS NULL OR principal = ?2) AND intent_id <> ?3",
            counted_since(intent.created_at),
            principal,
            intent.intent_id,
        )
        return usage_of(counted, intent.created_at)

    def save(self, generation: Generation, pictures: dict[int, Picture] | None = None) -> Generation:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`. The row is safe even where a picture is not."""
        with self._transaction() as db:
            kept = self._only_one(db, generation)
            db.execute(UPSERT, to_row(kept))
            db.executemany(
                "INSERT INTO images (url, intent_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
                [(image.url, kept.intent_id) for image in kept.images if image.url is not None],
            )
        with self._trouble():
            for number, picture in (pictures or {}).items():
                self._pictures.keep(kept.intent_id, number, picture)
        return kept

    def _only_one(self, db: sqlite3.Connection, generation: Generation) -> Generation:
        """``generation`` as it can stand beside what is there: a task is kept once, a request id stands for one."""
        if generation.task_id is not None:
            # Whoever only met a task gave it an intent id of its own.
            row = db.execute(
                SELECT + "WHERE task_id = ? AND intent_id <> ?", (generation.task_id, generation.intent_id)
            ).fetchone()
            if row is not None and generation.submitted_at is None:
                return met_elsewhere(from_row(row), generation)
            db.execute(
                "DELETE FROM generations WHERE task_id = ? AND intent_id <> ? AND submitted_at IS NULL",
                (generation.task_id, generation.intent_id),
            )
        if generation.request_id is not None:
            other = db.execute(
                SELECT + _OF_REQUEST + " AND intent_id <> ?",
                (generation.request_id, generation.api, generation.principal, generation.intent_id),
            ).fetchone()
            if other is not None:  # written while the file could not be: both were paid for, both are kept
                return replace(generation, request_id=None)
        return generation

    def forget(self, intent_id: str) -> None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        with self._transaction() as db:
            db.execute("DELETE FROM generations WHERE intent_id = ? AND task_id IS NULL", (intent_id,))

    def find(self, handle: str) -> Generation | None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        return self._one("WHERE task_id = ?1 OR intent_id = ?1 ORDER BY submitted_at IS NULL, created_at DESC", handle)

    def find_request(self, request_id: str, api: str | None, principal: str = "") -> Generation | None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        return self._one(_OF_REQUEST, request_id, api, principal)

    def find_image(self, url: str, principal: str = "") -> Generation | None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        return self._one(
            "WHERE intent_id IN (SELECT intent_id FROM images WHERE url = ?) AND principal = ?", url, principal
        )

    def picture(self, intent_id: str, number: int) -> Picture | None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        with self._trouble():
            return self._pictures.find(intent_id, number)

    def recent(self, limit: int, principal: str = "") -> list[Generation]:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        return self._all("WHERE principal = ? ORDER BY created_at DESC LIMIT ?", principal, limit)

    def open_tasks(self, since: float) -> list[Generation]:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        return self._all(
            "WHERE finished_at IS NULL AND task_id IS NOT NULL AND submitted_at > ? ORDER BY submitted_at", since
        )

    def history(
        self,
        *,
        status: str | None = None,
        model: str | None = None,
        search: str | None = None,
        since: float | None = None,
    ) -> list[Generation]:
        """All that fit every filter given, newest first.

        Args:
            search: Text in the prompt; upper and lower case are one for ASCII letters.
            since: Unix time.
        """
        return self._all(
            "WHERE (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR model = ?2) "
            "AND (?3 IS NULL OR instr(lower(prompt), lower(?3))) "
            "AND (?4 IS NULL OR created_at >= ?4) ORDER BY created_at DESC",
            status,
            model,
            search,
            since,
        )

    def unfinished(self) -> list[Generation]:
        """All whose end is not known, oldest first."""
        return self._all("WHERE finished_at IS NULL ORDER BY created_at")

    def latencies(self, model: str, api: str | None) -> list[float]:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        latest = self._all(
            "WHERE model = ? AND api IS ? AND status = 'success' ORDER BY finished_at DESC LIMIT ?",
            model,
            api,
            MOST_LATENCIES,
        )
        return [seconds for known in latest if (seconds := latency(known)) is not None]

    def prune(self, *, older_than: float | None = None, most_bytes: int | None = None) -> int:
        """Drop finished generations that ended before ``older_than`` (Unix time), then the oldest finished ones
        until the ledger's pictures take no more than ``most_bytes``. Returns how many went."""
        finished = self._all("WHERE finished_at IS NOT NULL ORDER BY finished_at")
        doomed = [known for known in finished if older_than is not None and (known.finished_at or 0) < older_than]
        if most_bytes is not None:
            with self._trouble():
                sizes = self._pictures.sizes()
            total = sum(sizes.values()) - sum(sizes.get(known.intent_id, 0) for known in doomed)
            for known in finished[len(doomed) :]:
                if total <= most_bytes:
                    break
                if known.intent_id in sizes:
                    doomed.append(known)
                    total -= sizes[known.intent_id]
        with self._transaction() as db:
            db.executemany("DELETE FROM generations WHERE intent_id = ?", [(known.intent_id,) for known in doomed])
        with self._trouble():
            self._pictures.sweep(time.time() - 3_600)
            for known in doomed:
                self._pictures.remove(known.intent_id)
        return len(doomed)

    def _one(self, where: str, *values: Any) -> Generation | None:
        found = self._all(where + " LIMIT 1", *values)
        return found[0] if found else None

    def _all(self, where: str, *values: Any) -> list[Generation]:
        with self._trouble():
            return [from_row(row) for row in self._db.execute(SELECT + where, values)]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._trouble():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite may have rolled it back by itself
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            busy = getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")
            kind = LedgerBusy if busy else LedgerError
            raise kind(f"The ledger {self._path} cannot be used: {' '.join(words.split())}.") from error
