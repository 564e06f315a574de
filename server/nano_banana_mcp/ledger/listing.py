"""The newest generations and the images of ``resources/list`` as plain data. Standard library only, for the front."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE_NAME = "ledger.sqlite3"
"""Name of the ledger in the state folder."""

PRUNED_IMAGES = '"pruned"'
"""Value of the column ``images`` in a row that pruning by age has reduced; versions before this one read it as none."""

IS_LISTED = f"images <> '{PRUNED_IMAGES}'"
"""SQL condition of the rows that lists show."""

SCHEMA_VERSIONS = (2, 3, 4, 5, 6, 7, 8)
"""Versions of the SQLite ledger that this module can read."""

MAX_LISTED_GENERATIONS = 50
MAX_LISTED_IMAGES = 20
MAX_TITLE_CHARACTERS = 80

_COLUMNS = "intent_id, task_id, status, model, prompt, api, credits_consumed, images, message, created_at, finished_at"


def open_read_only(state_folder: Path) -> sqlite3.Connection:
    """Open the ledger in ``state_folder`` for reading; no file is made.

    Raises:
        sqlite3.Error: It does not exist, or cannot be read.
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


def list_resources(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return the newest images of the local caller, newest first, in the form of ``resources/list``.

    Images of a sandbox ended with its server and are left out.

    Raises:
        ValueError: The ledger has a version that is unknown here.
        sqlite3.Error: The ledger cannot be read.
    """
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version not in SCHEMA_VERSIONS:
        raise ValueError(f"unknown version of the ledger: {version}")
    resources = [
        resource
        for row in recent_rows(connection, MAX_LISTED_GENERATIONS)
        for resource in image_resources(row, urls_work=row["api"] != "sandbox")
    ]
    return resources[:MAX_LISTED_IMAGES]


def image_resources(row: Mapping[str, Any], *, urls_work: bool) -> list[dict[str, Any]]:
    """Return the images of one row in the form of ``resources/list``, each under the URI that results link to.

    Args:
        row: A row of the ledger; ``images`` is JSON.
        urls_work: Whether the URLs of its images can work; otherwise images that have one are left out.
    """
    public_id = row["task_id"] or row["intent_id"]
    return [
        {
            "uri": image["url"] or f"nanobanana://tasks/{public_id}/images/{number}",
            "name": f"{public_id}-{number}",
            "title": _title(row["prompt"] or public_id),
            "mimeType": image["mime_type"],
        }
        for number, image in enumerate(json.loads(row["images"]))
        if urls_work or image["url"] is None
    ]


def _title(text: str) -> str:
    """One line, cut to what a list shows."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_TITLE_CHARACTERS else text[: MAX_TITLE_CHARACTERS - 1] + "…"
