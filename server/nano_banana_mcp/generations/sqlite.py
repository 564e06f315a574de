"""The ledger's file: SQLite, shared by all server processes of one user.

Synchronous, and to be used from one thread at a time; :mod:`nano_banana_mcp.generations.durable` sees to both.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from nano_banana_mcp.generations.ledger import MOST_LATENCIES, LedgerError, latency
from nano_banana_mcp.generations.models import GeneratedImage, Generation, Status
from nano_banana_mcp.generations.picture_files import PictureFiles
from nano_banana_mcp.generations.schema import BUSY_SECONDS, prepare
from nano_banana_mcp.images.picture import Picture

FILE_NAME = "ledger.sqlite3"

_COLUMNS = [field.name for field in fields(Generation)]
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM generations "  # noqa: S608 - our own column names
_UPSERT = (
    f"INSERT INTO generations ({', '.join(_COLUMNS)}) VALUES ({', '.join(':' + name for name in _COLUMNS)}) "  # noqa: S608
    "ON CONFLICT (intent_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name != "intent_id")
    + " WHERE generations.finished_at IS NULL AND (excluded.task_id IS NOT NULL OR generations.task_id IS NULL)"
)


class SqliteLedger:
    """One connection to the ledger in ``folder``.

    Raises:
        LedgerError: the file cannot be used; so do all methods, whenever the disk fails them.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._pictures = PictureFiles(folder / "pictures")
        with self._trouble():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # SQLite gives its side files the permissions of this one.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            self._db = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                self._db.row_factory = sqlite3.Row
                prepare(self._db, self._path)
            except BaseException:
                self._db.close()
                raise

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

    def begin(self, intent: Generation) -> Generation:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        with self._transaction() as db:
            if intent.request_id is not None:
                row = db.execute(_SELECT + "WHERE request_id = ?", (intent.request_id,)).fetchone()
                if row is not None:
                    return _generation(row)
            db.execute(_UPSERT, _row(intent))
        return intent

    def save(self, generation: Generation, pictures: dict[int, Picture] | None = None) -> Generation:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        with self._trouble():
            for number, picture in (pictures or {}).items():
                self._pictures.keep(generation.intent_id, number, picture)
        with self._transaction() as db:
            # Whoever only met a task gave it an intent id of its own; one row of those is enough.
            db.execute(
                "DELETE FROM generations WHERE task_id = ? AND intent_id <> ? AND submitted_at IS NULL",
                (generation.task_id, generation.intent_id),
            )
            db.execute(_UPSERT, _row(generation))
            db.executemany(
                "INSERT INTO images (url, intent_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
                [(image.url, generation.intent_id) for image in generation.images if image.url is not None],
            )
        return generation

    def forget(self, intent_id: str) -> None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        with self._transaction() as db:
            db.execute("DELETE FROM generations WHERE intent_id = ? AND task_id IS NULL", (intent_id,))

    def find(self, handle: str) -> Generation | None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        return self._one("WHERE task_id = ?1 OR intent_id = ?1 ORDER BY submitted_at IS NULL, created_at DESC", handle)

    def find_request(self, request_id: str) -> Generation | None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        return self._one("WHERE request_id = ?", request_id)

    def find_image(self, url: str) -> Generation | None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        return self._one("WHERE intent_id = (SELECT intent_id FROM images WHERE url = ?)", url)

    def picture(self, intent_id: str, number: int) -> Picture | None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        with self._trouble():
            return self._pictures.find(intent_id, number)

    def recent(self, limit: int) -> list[Generation]:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        return self._all("ORDER BY created_at DESC LIMIT ?", limit)

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
        escaped = None if search is None else re.sub(r"([%_\\])", r"\\\1", search)
        return self._all(
            "WHERE (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR model = ?2) "
            "AND (?3 IS NULL OR prompt LIKE '%' || ?3 || '%' ESCAPE '\\') "
            "AND (?4 IS NULL OR created_at >= ?4) ORDER BY created_at DESC",
            status,
            model,
            escaped,
            since,
        )

    def unfinished(self) -> list[Generation]:
        """All whose end is not known, oldest first."""
        return self._all("WHERE finished_at IS NULL ORDER BY created_at")

    def latencies(self, model: str) -> list[float]:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        latest = self._all(
            "WHERE model = ? AND status = 'success' ORDER BY finished_at DESC LIMIT ?", model, MOST_LATENCIES
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
            for known in doomed:
                self._pictures.remove(known.intent_id)
        return len(doomed)

    def _one(self, where: str, *values: Any) -> Generation | None:
        found = self._all(where + " LIMIT 1", *values)
        return found[0] if found else None

    def _all(self, where: str, *values: Any) -> list[Generation]:
        with self._trouble():
            return [_generation(row) for row in self._db.execute(_SELECT + where, values)]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._trouble():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise LedgerError(f"The ledger {self._path} cannot be used: {words}.") from error


def _row(generation: Generation) -> dict[str, Any]:
    row = {name: getattr(generation, name) for name in _COLUMNS}
    images = json.dumps([asdict(image) for image in generation.images])
    return {**row, "status": generation.status.value, "images": images}


def _generation(row: sqlite3.Row) -> Generation:
    values = dict(row)
    values["status"] = Status(values["status"])
    values["images"] = tuple(GeneratedImage(**image) for image in json.loads(values["images"]))
    return Generation(**values)
