"""The tool that lists what was made, for the model in a few lines and for the person as a grid."""

from __future__ import annotations

from mcp.types import CallToolResult

from nano_banana_tools.arguments import Limit, Search
from nano_banana_tools.browse_results import to_browse_result
from nano_banana_tools.context import CurrentStudio, principal

DESCRIPTION = (
    "List the newest pictures, finished or not, free of charge: to find a task_id, or to show them to the person."
)


# No output schema: it would cost every conversation more than the answer explains.
async def browse_images(studio: CurrentStudio, search: Search = None, limit: Limit = 8) -> CallToolResult:
    """Look back."""
    return to_browse_result(await studio.ledger.recent(limit, principal(), search), search)
