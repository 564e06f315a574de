"""Opens the ledger that the settings name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nano_banana_mcp.ledger.async_ledger import DurableLedger
from nano_banana_mcp.ledger.errors import LedgerBusy, LedgerError
from nano_banana_mcp.ledger.sqlite import SqliteLedger
from nano_banana_mcp.settings import Settings, SettingsError

if TYPE_CHECKING:
    from nano_banana_mcp.ledger.postgres import PostgresLedger
    from nano_banana_mcp.ledger.queries import SqlLedger

SECONDS_PER_DAY = 86_400.0


def open_ledger(settings: Settings, *, memory_fallback: bool = False) -> DurableLedger:
    """Return the ledger of a server. Nothing is opened before its first use.

    Args:
        memory_fallback: Whether to record in memory if the state folder is unusable, as over stdio.
    """
    prune_now = partial(prune, settings)
    if settings.ledger_url is None:
        return DurableLedger(partial(open_database, settings), prune_now, memory_fallback=memory_fallback)
    from nano_banana_mcp.ledger.notifications import SharedLedger

    return SharedLedger(settings.ledger_url.get_secret_value(), prune_now)


def images_folder(settings: Settings) -> Path | None:
    """Return the folder of the image store; None if there is no state folder."""
    try:
        return settings.state_path / "images"
    except SettingsError:
        return None


def check_ledger(settings: Settings) -> None:
    """Check before serving that generations can be recorded. One that is busy, or away for now, passes.

    Raises:
        LedgerError: They cannot; ``for_operator`` has the reason.
    """
    try:
        database = open_database(settings)
        try:
            if database.read_only:
                raise LedgerError(
                    f"The state folder {settings.state_path} is read-only, so images that are paid for could not be "
                    "recorded. Make it writable, or set NANO_BANANA_STATE_DIR to another folder."
                )
            database.probe()
        finally:
            database.close()
    except LedgerBusy:
        return


def open_database(settings: Settings) -> SqlLedger:
    """Open the database under the ledger, for use in one thread.

    Raises:
        LedgerError: It cannot be used.
    """
    if settings.ledger_url is not None:
        return _open_postgres(settings)
    try:
        folder = settings.state_path
    except SettingsError as error:
        raise LedgerError(str(error)) from None
    return SqliteLedger(folder)


def shared_secret(settings: Settings, name: str, fresh: str) -> str:
    """Return the secret of this name that all replicas on one database share; ``fresh`` becomes the first one.

    Raises:
        LedgerError: The database cannot be used.
    """
    with _postgres(settings) as database:
        return database.secret(name, fresh)


def known_secret(settings: Settings, name: str) -> str | None:
    """Return the shared secret of this name, if there is one.

    Raises:
        LedgerError: The database cannot be used.
    """
    with _postgres(settings) as database:
        return database.known_secret(name)


def prune(settings: Settings, ledger: SqlLedger) -> int:
    """Prune generations that ended more than NANO_BANANA_KEEP_DAYS ago. Returns how many left the lists."""
    if settings.keep_days is None:
        return 0
    now = time.time()
    return ledger.prune(older_than=now - settings.keep_days * SECONDS_PER_DAY, now=now)


def _open_postgres(settings: Settings) -> PostgresLedger:
    from nano_banana_mcp.ledger.postgres import PostgresLedger
    from nano_banana_mcp.ledger.postgres_connection import Database

    assert settings.ledger_url is not None
    return PostgresLedger(Database(settings.ledger_url.get_secret_value()))


@contextmanager
def _postgres(settings: Settings) -> Iterator[PostgresLedger]:
    database = _open_postgres(settings)
    try:
        yield database
    finally:
        database.close()
