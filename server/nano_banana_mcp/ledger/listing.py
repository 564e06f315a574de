"""The newest generations for `nanobanana://tasks`, read without the rest of the server. The standard library only."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

FILE_NAME = "ledger.sqlite3"
"""Name of the ledger in the state folder."""

PRUNED_IMAGES = '"pruned"'
"""Value of the column ``images`` in a row that pruning by age has reduced; versions before this one read it as none."""

IS_LISTED = f"images <> '{PRUNED_IMAGES}'"
"""SQL condition of the rows that lists show."""

_COLUMNS = "intent_id, task_id, status, model, prompt, api, credits_consumed, images, message, created_at, finished_at"


def open_read_only(state_folder: Path) -> sqlite3.Connection:
    """Open the ledger in ``state_folder`` for reading; no file is made.

    Raises:
        sqlite3.Error: There is none, or it cannot be read.
    """
    uri = f"{(state_folder / FILE_NAME).absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=1.0)


def recent_rows(connection: sqlite3.Connection, limit: int, principal: str = "") -> list[dict[str, Any]]:
    """Return the newest rows of one principal, newest first.

    Args:
        limit: Maximum number of rows.

    Raises:
        sqlite3.Error: The ledger cannot be read.
    """
    cursor = connection.execute(
        f"SELECT {_COLUMNS} FROM generations WHERE principal = ? AND {IS_LISTED} "  # noqa: S608 - our own names
        "ORDER BY created_at DESC, intent_id DESC LIMIT ?",
        (principal, limit),
    )
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
