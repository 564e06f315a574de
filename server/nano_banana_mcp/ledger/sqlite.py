"""The ledger's file: SQLite, shared by all server processes of one user. Pictures without a URL are files beside it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.images.formats import extension_for, sniff
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger.base import LedgerBusy, LedgerError
from nano_banana_mcp.ledger.queries import SqlLedger, Values
from nano_banana_mcp.ledger.sqlite_schema import open_database

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
        self._images = ImageFiles(folder / "pictures")
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
        """See :class:`~nano_banana_mcp.ledger.queries.SqlLedger`."""
        with self._transaction():
            [version] = self._db.execute("PRAGMA user_version").fetchone()
            self._db.execute(f"PRAGMA user_version = {version:d}")

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def save(self, generation: Generation, encoded_images: dict[int, EncodedImage] | None = None) -> Generation:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`. The row is safe even where a picture is not."""
        kept = super().save(generation)
        with self._trouble():
            for number, encoded in (encoded_images or {}).items():
                self._images.keep(kept.generation_id, number, encoded)
        return kept

    def encoded(self, generation_id: str, number: int) -> EncodedImage | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        with self._trouble():
            return self._images.find(generation_id, number)

    def _image_sizes(self) -> dict[str, int]:
        with self._trouble():
            return self._images.sizes()

    def _pruned(self, doomed: list[str]) -> None:
        with self._trouble():
            self._images.sweep(time.time() - 3_600)
            for generation_id in doomed:
                self._images.remove(generation_id)

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


class ImageFiles:
    """Pictures in ``folder``, named by their generation's intent id and their number in it. Readable by the user only.

    Raises:
        OSError: the disk fails; so do all methods.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, generation_id: str, number: int, encoded: EncodedImage) -> None:
        """Write a picture, whole or not at all."""
        self._folder.mkdir(exist_ok=True, mode=0o700)
        path = self._folder / f"{generation_id}-{number}{extension_for(encoded.mime_type)}"
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(encoded.data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)  # half a picture only takes the room that the whole one needs
            raise

    def find(self, generation_id: str, number: int) -> EncodedImage | None:
        """A picture's bytes."""
        for path in self._folder.glob(f"{generation_id}-{number}.*"):
            data = path.read_bytes()
            return EncodedImage(data, sniff(data) or "application/octet-stream")
        return None

    def sizes(self) -> dict[str, int]:
        """Bytes taken by each generation's pictures, by intent id."""
        sizes: dict[str, int] = {}
        for path in self._folder.glob("in-*"):
            generation_id = path.stem.rpartition("-")[0]
            sizes[generation_id] = sizes.get(generation_id, 0) + path.stat().st_size
        return sizes

    def sweep(self, older_than: float) -> None:
        """Delete what a killed process left half written before ``older_than`` (Unix time)."""
        for path in self._folder.glob(".in-*"):
            if path.stat().st_mtime < older_than:
                path.unlink(missing_ok=True)

    def remove(self, generation_id: str) -> None:
        """Delete a generation's pictures."""
        for path in self._folder.glob(f"{generation_id}-*"):
            path.unlink(missing_ok=True)
