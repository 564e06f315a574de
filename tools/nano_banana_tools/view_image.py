"""The tool that lets the model see what it made."""

from __future__ import annotations

from mcp.types import CallToolResult

from nano_banana_mcp.generations.waiting import Waited
from nano_banana_tools.arguments import MaxSide, Number, TaskId
from nano_banana_tools.context import CurrentStudio, principal
from nano_banana_tools.view_results import nothing_to_see, numbers_of, to_view_result

DESCRIPTION = (
    "See the finished pictures of a task yourself, free of charge: returns them as images, shrunk. Use it to check or "
    "describe a picture, or before changing it. For the person, show the URL instead."
)


# No output schema: hosts that get structured content drop the images.
async def view_image(
    studio: CurrentStudio, task_id: TaskId, number: Number = None, max_side: MaxSide = 1024
) -> CallToolResult:
    """Look."""
    from nano_banana_mcp.generations.viewing import view

    generation = await studio.look(task_id, principal())
    numbers = numbers_of(generation, number)
    if not numbers:
        return nothing_to_see(Waited(generation, note=studio.ledger.problem), studio.now(), number)
    return to_view_result(generation, await view(studio.album, generation, numbers, max_side=max_side))
