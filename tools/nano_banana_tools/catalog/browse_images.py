"""The tool that lists what was made, for the model in a few lines and for the person as a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp.types import CallToolResult, TextContent

from nano_banana_mcp.common.text import clean
from nano_banana_mcp.generations.models import Generation
from nano_banana_tools.arguments import Limit, Search
from nano_banana_tools.context import CurrentService, principal
from nano_banana_tools.results import resource_uri

DESCRIPTION = (
    "List the newest pictures, finished or not, free of charge: to find a task_id, or to show them to the person."
)


# No output schema: it would cost every conversation more than the answer explains.
async def browse_images(service: CurrentService, search: Search = None, limit: Limit = 8) -> CallToolResult:
    """Look back."""
    return to_browse_result(await service.ledger.recent(limit, principal(), search), search)


MAX_TEXT_BYTES = 1_500
MAX_PROMPT_BYTES = 120

_MORE = "… and {} more"


def to_browse_result(found: Sequence[Generation], search: str | None) -> CallToolResult:
    """The same facts in the text and in the structured answer; prompts are cut short in both."""
    if not found:
        words = "Nothing was made yet." if search is None else "No prompt has this text in it."
        return _result(words, [])
    head = (
        f"{len(found)} found, newest first, with (how many pictures, if more than one). "
        f"Picture n of a task, from 0: {resource_uri('TASK_ID', 0)[:-1]}n; get_task has the URLs.\n"
    )
    heads = [_head(known) for known in found]
    room = MAX_TEXT_BYTES - len(head.encode()) - sum(len(line.encode()) + 1 for line in heads)
    prompts = [_cut(clean(known.prompt or ""), min(MAX_PROMPT_BYTES, max(12, room // len(found)))) for known in found]
    lines = [f"{line}{prompt}" for line, prompt in zip(heads, prompts, strict=True)]
    return _result(head + _fitting(lines, MAX_TEXT_BYTES - len(head.encode())), list(map(_row, found, prompts)))


def _head(known: Generation) -> str:
    count = f" ({len(known.images)})" if len(known.images) > 1 else ""
    return f"{known.public_id} {known.status.value}{count}: "


def _row(known: Generation, prompt: str) -> dict[str, Any]:
    return {
        "task_id": known.public_id,
        "status": known.status.value,
        "prompt": prompt,
        "pictures": len(known.images),
        "resource_uri": resource_uri(known.public_id, 0) if known.images else None,
    }


def _fitting(lines: list[str], most: int) -> str:
    """As many lines as there is room for. They are left out only where task ids are far longer than the API's are."""
    for count in range(len(lines), 0, -1):
        text = "\n".join([*lines[:count], *([_MORE.format(len(lines) - count)] if count < len(lines) else [])])
        if len(text.encode()) <= most:
            return text
    return _MORE.format(len(lines))


def _cut(text: str, most: int) -> str:
    if len(text.encode()) <= most:
        return text
    return text.encode()[: most - len("…".encode())].decode(errors="ignore").rstrip() + "…"


def _result(text: str, rows: list[dict[str, Any]]) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content={"generations": rows})
