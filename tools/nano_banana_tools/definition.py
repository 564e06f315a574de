"""What each file of the catalog defines, and the annotations they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mcp.types import ToolAnnotations

PAID = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
ADDING = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
READ_ONLY = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """One tool. Its name is that of the handler, and its input schema comes from the handler's parameters."""

    handler: Callable[..., Any]
    title: str
    description: str
    annotations: ToolAnnotations
    meta: dict[str, Any] | None = None
