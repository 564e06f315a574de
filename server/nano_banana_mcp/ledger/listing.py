"""The images of ``resources/list`` as plain data, from a SQLite ledger. Standard library only: the front uses it."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

MAX_GENERATIONS = 50
MAX_IMAGES = 20
MAX_TITLE_CHARACTERS = 80
SCHEMA_VERSIONS = (2,)
"""Versions of the database that this module can read."""


def list_resources(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """The newest images of the local caller, newest first.

    Images of a sandbox ended with its server and are left out.

    Raises:
        ValueError: The ledger has a version that is unknown here.
        sqlite3.Error: The ledger cannot be read.
    """
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version not in SCHEMA_VERSIONS:
        raise ValueError(f"unknown version of the ledger: {version}")
    rows = connection.execute(
        "SELECT coalesce(task_id, intent_id), prompt, api, images FROM generations"
        " WHERE principal = '' ORDER BY created_at DESC LIMIT ?",
        (MAX_GENERATIONS,),
    )
    return [resource for row in rows for resource in _resources(*row)][:MAX_IMAGES]


def title(prompt: str | None, public_id: str) -> str:
    """The prompt on one line, cut to what a list shows; the id where there is no prompt."""
    text = " ".join((prompt or public_id).split())
    return text if len(text) <= MAX_TITLE_CHARACTERS else text[: MAX_TITLE_CHARACTERS - 1] + "…"


def _resources(public_id: str, prompt: str | None, api: str | None, images: str) -> list[dict[str, Any]]:
    resources = []
    for number, image in enumerate(json.loads(images)):
        url = image["url"]
        if url is not None and api == "sandbox":
            continue
        resources.append(
            {
                "uri": url or f"nanobanana://tasks/{public_id}/images/{number}",
                "name": f"{public_id}-{number}",
                "title": title(prompt, public_id),
                "mimeType": image["mime_type"],
            }
        )
    return resources
