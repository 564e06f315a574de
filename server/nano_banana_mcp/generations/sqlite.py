"""The ledger's file: SQLite, shared by all server processes of one user."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nano_banana_mcp.generations.ledger import LedgerBusy, LedgerError
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.picture_files import PictureFiles
from nano_banana_mcp.generations.schema import open_database
from nano_banana_mcp.generations.sql import SqlLedger, Values
from nano_banana_mcp.images.picture import Picture

FILE_NAME = "ledger.sqlite3"


class SqliteLedger(SqlLedger):
    """One connection to the ledger in ``folder``; the pictures that came without a URL are files beside it.

    Raises:
        LedgerError: the file cannot be used; so do all methods, whenever the disk fails them.
    """

    _BEGIN = "BEGIN IMMEDIATE"
    _POSITION = "instr"

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

    def probe(self) -> None:
        """See :class:`~nano_banana_mcp.generations.sql.SqlLedger`."""
        with self._transaction():
            [version] = self._db.execute("PRAGMA user_version").fetchone()
            self._db.execute(f"PRAGMA user_version = {version:d}")

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def save(self, generation: Generation, pictures: dict[int, Picture] | None = None) -> Generation:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`. The row is safe even where a picture is not."""
        kept = super().save(generation)
        with self._trouble():
            for number, picture in (pictures or {}).items():
                self._pictures.keep(kept.intent_id, number, picture)
        return kept

    def picture(self, intent_id: str, number: int) -> Picture | None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        with self._trouble():
            return self._pictures.find(intent_id, number)

    def _picture_sizes(self) -> dict[str, int]:
        with self._trouble():
            return self._pictures.sizes()

    def _pruned(self, doomed: list[str]) -> None:
        with self._trouble():
            self._pictures.sweep(time.time() - 3_600)
            for intent_id in doomed:
                self._pictures.remove(intent_id)

    @property
    def _in_transaction(self) -> bool:
        return self._db.in_transaction

    def _fetch(self, sql: str, values: Values | None = None) -> list[Any]:
        with self._trouble():
            return self._db.execute(sql, values or {}).fetchall()

    def _run(self, sql: str, many: Iterable[Values]) -> None:
        with self._trouble():
            self._db.executemany(sql, many)

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            busy = getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")
            kind = LedgerBusy if busy else LedgerError
            raise kind(f"The ledger {self._path} cannot be used: {' '.join(words.split())}.") from error
