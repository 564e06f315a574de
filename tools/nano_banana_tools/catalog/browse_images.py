"""browse_images: the newest generations, as text for the model and as a grid for the person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from mcp.types import CallToolResult, TextContent

from nano_banana_mcp.common.text import clean, shorten
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.ledger.queries import SHORT_SEARCH, is_short
from nano_banana_tools import apps
from nano_banana_tools.arguments import Limit, Search
from nano_banana_tools.context import ToolContext, principal
from nano_banana_tools.definition import READ_ONLY, ToolDefinition
from nano_banana_tools.results import format_credits, resource_uri

DESCRIPTION = (
    "List the newest pictures, finished or not, free of charge: to find a task_id, or to show them to the person."
)

MAX_PROMPT_CHARACTERS = 80


# No output schema: it would cost every conversation more than the answer explains.
async def browse_images(ctx: ToolContext, search: Search = None, limit: Limit = 8) -> CallToolResult:
    """Read the caller's newest generations from the ledger; the API is not queried."""
    service = ctx.request_context.lifespan_context
    return to_browse_result(await service.ledger.recent(limit, principal(), search), search)


def to_browse_result(generations: Sequence[Generation], search: str | None) -> CallToolResult:
    """One line and one row for each generation, with the same facts. Prompts are cut short in both.

    Args:
        search: The text that was searched for; None if nothing was.
    """
    note = [SHORT_SEARCH] if search is not None and is_short(search) else []
    if not generations:
        text = "No pictures have been made yet." if search is None else "No prompt contains this text."
        return _result("\n".join([text, *note]), [])
    rows = [_row(generation) for generation in generations]
    head = (
        f"{len(rows)} task{'' if len(rows) == 1 else 's'}, newest first. Resource of picture n, from 0: "
        f"{resource_uri('TASK_ID', 0)[:-1]}n. get_task returns the URLs."
    )
    return _result("\n".join([head, *map(_line, rows), *note]), rows)


def _row(generation: Generation) -> dict[str, Any]:
    return {
        "task_id": generation.public_id,
        "status": generation.status.value,
        "prompt": shorten(clean(generation.prompt or ""), MAX_PROMPT_CHARACTERS),
        "pictures": len(generation.images),
        "resource_uri": resource_uri(generation.public_id, 0) if generation.images else None,
        "created_at": datetime.fromtimestamp(generation.created_at, UTC).isoformat(timespec="seconds"),
        "model": generation.model,
        "credits_consumed": generation.credits_consumed,
        "format": generation.options,
        "batch_id": generation.batch_id,
    }


def _line(row: dict[str, Any]) -> str:
    count = f" ({row['pictures']} pictures)" if row["pictures"] > 1 else ""
    created = f"{row['created_at'][:16].replace('T', ' ')} UTC"
    batch = f"batch {row['batch_id']}" if row["batch_id"] else None
    facts = [created, row["model"], row["format"], format_credits(row["credits_consumed"]), batch]
    return f"{row['task_id']} {row['status']}{count}, {', '.join(fact for fact in facts if fact)}: {row['prompt']}"


def _result(text: str, rows: list[dict[str, Any]]) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content={"generations": rows})


TOOL = ToolDefinition(browse_images, "Browse images", DESCRIPTION, READ_ONLY, apps.GALLERY_VIEW)
