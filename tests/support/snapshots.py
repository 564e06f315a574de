"""Snapshots of the texts that hosts and models read. ``make snapshots`` renews them after a deliberate change."""

from __future__ import annotations

import difflib
import json
import os
from typing import Any

import pytest
from pydantic import BaseModel

from tests.support.paths import ROOT

SNAPSHOTS = ROOT / "tests" / "snapshots"
RENEWING = "RENEW_SNAPSHOTS"


def as_wire_json(model: BaseModel) -> dict[str, Any]:
    """A message as it goes over the wire."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def compare_json(name: str, now: object) -> None:
    """As :func:`compare`, for what is JSON."""
    compare(name, json.dumps(now, indent=2, ensure_ascii=False))


def compare(name: str, now: str) -> None:
    """Fail with a diff where a text is not that of the snapshot of this name, unless snapshots are being renewed."""
    file = SNAPSHOTS / name
    if os.environ.get(RENEWING):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(now + "\n", encoding="utf-8")
        return
    snapshot = file.read_text(encoding="utf-8") if file.exists() else ""
    if snapshot != now + "\n":
        lines = difflib.unified_diff(snapshot.splitlines(), now.splitlines(), f"snapshots/{name}", "now", lineterm="")
        advice = "What hosts and models read has changed. If it was meant to: make snapshots, and commit the diff."
        pytest.fail("\n".join([advice, "", *lines]), pytrace=False)
