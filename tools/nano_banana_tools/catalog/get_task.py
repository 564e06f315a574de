"""The tool that looks once."""

from __future__ import annotations

from typing import Annotated

from mcp.types import CallToolResult

from nano_banana_mcp.tracking.waiter import WaitResult
from nano_banana_tools.arguments import TaskId
from nano_banana_tools.context import CurrentService, principal
from nano_banana_tools.results import GenerationResult, to_result

DESCRIPTION = (
    "Look once at the state of a picture, free of charge. Do not call it in a loop: to get a picture that is not "
    "finished, call wait_for_image."
)


async def get_task(service: CurrentService, task_id: TaskId) -> Annotated[CallToolResult, GenerationResult]:
    """The state now."""
    generation = await service.look(task_id, principal())
    kept = await service.desk.kept(generation)
    waited = WaitResult(service.album.typed(generation), note=service.ledger.problem, kept=kept)
    return to_result(waited, service.now())
