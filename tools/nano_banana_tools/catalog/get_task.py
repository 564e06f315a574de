"""The tool that looks once."""

from __future__ import annotations

from typing import Annotated

from mcp.types import CallToolResult

from nano_banana_mcp.tracking.waiter import Waited
from nano_banana_tools.arguments import TaskId
from nano_banana_tools.context import CurrentStudio, principal
from nano_banana_tools.results import GenerationResult, to_result

DESCRIPTION = (
    "Look once at the state of a picture, free of charge. Do not call it in a loop: to get a picture that is not "
    "finished, call wait_for_image."
)


async def get_task(studio: CurrentStudio, task_id: TaskId) -> Annotated[CallToolResult, GenerationResult]:
    """The state now."""
    generation = await studio.look(task_id, principal())
    kept = await studio.desk.kept(generation)
    waited = Waited(studio.album.typed(generation), note=studio.ledger.problem, kept=kept)
    return to_result(waited, studio.now())
