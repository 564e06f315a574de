"""The ledger in a SQLite file, shared by all server processes of one user, or in memory."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from nano_banana_mcp.common.files import display_path
from nano_banana_mcp.ledger.errors import LedgerBusy, LedgerError
from nano_banana_mcp.ledger.listing import FILE_NAME
from nano_banana_mcp.ledger.sqlite_schema import BUSY_SECONDS, open_database, open_in_memory
from nano_banana_mcp.ledger.sqlite_search import SqliteSearch
from nano_banana_mcp.ledger.sums import SQLITE_DAY


class SqliteLedger(SqliteSearch):
    """One connection to the ledger in ``folder``.

    Args:
        folder: The state folder; None for a ledger that lives as long as this object.
        busy_seconds: Longest wait for another process's transaction.

    Raises:
        LedgerError: The file cannot be used; every method raises it.
    """

    _ERRORS = (sqlite3.Error, OSError)
    _BEGIN = "BEGIN IMMEDIATE"
    _POSITION = "instr"
    _DAY = SQLITE_DAY
    _ADD_SUMS = "ON CONFLICT DO UPDATE SET number = number + excluded.number"

    def __init__(self, folder: Path | None, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self.in_memory = folder is None
        self._path = None if folder is None else folder / FILE_NAME
        try:
            if self._path is None:
                self._db = open_in_memory()
            else:
                self._db, self.read_only = open_database(self._path, busy_seconds=busy_seconds)
        except self._ERRORS as error:
            raise self._translated(error) from error
        self._execute = self._db.execute
        self._identity = self._file_identity()

    @property
    def still_there(self) -> bool:
        """See :class:`~nano_banana_mcp.ledger.queries.SqlLedger`."""
        return self._file_identity() == self._identity

    def check(self) -> str:
        """See :class:`~nano_banana_mcp.ledger.queries.SqlLedger`."""
        verdict = self._fetch("PRAGMA quick_check(1)")[0]["quick_check"]
        if verdict != "ok":
            raise LedgerError(
                f"The ledger {self._name} is damaged: {verdict}. Move the file to another place and keep it."
            )
        [[count, unfinished]] = self._fetch("SELECT count(*), count(*) - count(finished_at) FROM generations")
        return f"{count} generation{'' if count == 1 else 's'}, {unfinished} of them open or unknown"

    def probe(self) -> None:
        """See :class:`~nano_banana_mcp.ledger.queries.SqlLedger`."""
        with self._transaction():
            [[version]] = self._fetch("PRAGMA user_version")
            self._fetch(f"PRAGMA user_version = {version:d}")

    def close(self) -> None:
        """See :class:`~nano_banana_mcp.ledger.queries.SqlLedger`."""
        self._db.close()

    def copy_to_memory(self) -> SqliteLedger:
        """Return a ledger in memory with all rows of this one."""
        copy = SqliteLedger(None)
        try:
            self._db.backup(copy._db)
        except self._ERRORS as error:
            raise self._translated(error) from error
        return copy

    def _file_identity(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    @property
    def _name(self) -> str:
        return "in memory" if self._path is None else display_path(self._path)

    @property
    def _in_transaction(self) -> bool:
        return self._db.in_transaction

    def _translated(self, error: Exception) -> LedgerError:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        is_busy = getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")
        kind = LedgerBusy if is_busy else LedgerError
        return kind(f"The ledger {self._name} cannot be used: {' '.join(reason.split())}.")
