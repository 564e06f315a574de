"""Generations as rows of the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from nano_banana_mcp.generations.models import GeneratedImage, Generation, Status

_FIELDS = {"intent_id" if field.name == "generation_id" else field.name: field.name for field in fields(Generation)}
"""The field of each column. Columns keep the names that older versions gave them."""

_COLUMNS = list(_FIELDS)

GENERATION_COLUMNS = ", ".join(_COLUMNS)

UPSERT = (
    f"INSERT INTO generations ({', '.join(_COLUMNS)}) "  # noqa: S608 - our own column names
    f"VALUES ({', '.join(':' + name for name in _COLUMNS)}) "
    "ON CONFLICT (intent_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name != "intent_id")
    # An end never changes, and a task id is never lost. A failed submit may turn out to have made a task.
    + " WHERE CASE WHEN generations.task_id IS NULL "
    "THEN excluded.task_id IS NOT NULL OR generations.finished_at IS NULL "
    "ELSE excluded.task_id IS NOT NULL AND generations.finished_at IS NULL END"
)


def to_row(generation: Generation) -> dict[str, Any]:
    """Return the values of all columns."""
    row = {column: getattr(generation, field) for column, field in _FIELDS.items()}
    images = json.dumps([asdict(image) for image in generation.images])
    return {**row, "status": generation.status.value, "images": images}


def from_row(row: Mapping[str, Any]) -> Generation:
    """Return the generation of a row. A value that cannot be read becomes "unknown" or "no images", so that one
    damaged row does not hide the others."""
    values = {_FIELDS.get(column, column): value for column, value in dict(row).items()}
    values["expects_callback"] = bool(values["expects_callback"])
    values["is_sandbox"] = bool(values["is_sandbox"])
    try:
        values["status"] = Status(values["status"])
    except ValueError:
        values["status"] = Status.UNKNOWN
    try:
        values["images"] = tuple(GeneratedImage(**image) for image in json.loads(values["images"]))
    except (TypeError, ValueError):
        values["images"] = ()
    return Generation(**values)
