"""Which ledger the settings name, and what they want to keep in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from nano_banana_mcp.ledger.async_ledger import DurableLedger
from nano_banana_mcp.settings import Settings

if TYPE_CHECKING:
    from nano_banana_mcp.ledger.postgres import PostgresLedger
    from nano_banana_mcp.ledger.queries import SqlLedger


def open_ledger(settings: Settings) -> DurableLedger:
    """The ledger that a server uses. Nothing is opened before its first use."""
    if settings.ledger_url is None:
        return DurableLedger(settings.state_path, partial(prune, settings))
    from nano_banana_mcp.ledger.notifications import SharedLedger

    return SharedLedger(settings.ledger_url.get_secret_value(), partial(prune, settings))


def open_database(settings: Settings) -> SqlLedger:
    """The database under the ledger, for one thread.

    Raises:
        LedgerError: it cannot be used.
    """
    if settings.ledger_url is None:
        from nano_banana_mcp.ledger.sqlite import SqliteLedger

        return SqliteLedger(settings.state_path)
    from nano_banana_mcp.ledger.postgres import PostgresLedger
    from nano_banana_mcp.ledger.postgres_connection import Database

    return PostgresLedger(Database(settings.ledger_url.get_secret_value()))


def shared_secret(settings: Settings, name: str, fresh: str) -> str:
    """The secret of this name that all replicas on one database share: ``fresh``, if there was none.

    Raises:
        LedgerError: the database cannot be used.
    """
    with _shared(settings) as database:
        return database.secret(name, fresh)


def known_secret(settings: Settings, name: str) -> str | None:
    """The same, where there is one.

    Raises:
        LedgerError: the database cannot be used.
    """
    with _shared(settings) as database:
        return database.known_secret(name)


@contextmanager
def _shared(settings: Settings) -> Iterator[PostgresLedger]:
    from nano_banana_mcp.ledger.postgres import PostgresLedger

    database = open_database(settings)
    assert isinstance(database, PostgresLedger)
    try:
        yield database
    finally:
        database.close()


def prune(settings: Settings, ledger: SqlLedger) -> int:
    """Drop what the settings no longer want to keep. Returns how many generations went."""
    if settings.keep_days is None and settings.keep_megabytes is None:
        return 0
    oldest = None if settings.keep_days is None else time.time() - settings.keep_days * 86_400
    most = None if settings.keep_megabytes is None else round(settings.keep_megabytes * 1_000_000)
    return ledger.prune(older_than=oldest, most_bytes=most)
