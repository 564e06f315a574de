"""Errors of the ledger. The standard library only."""

from __future__ import annotations


class LedgerError(Exception):
    """The ledger cannot be used. The text says why and what to do; it is safe to show to any caller.

    Attributes:
        for_operator: The text with the database's own message, which may name hosts, users and databases.
        is_safe_to_log: The ``repr`` contains no text of the API or of a caller.
    """

    is_safe_to_log = True

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.for_operator = f"{message} The database says: {detail}" if detail else message


class LedgerBusy(LedgerError):
    """The ledger cannot be used right now: another process holds it, or the database is away. Trying again helps."""
