"""get_task: the state of a generation now."""

from __future__ import annotations

from typing import Annotated

from mcp.types import CallToolResult

from nano_banana_mcp.tracking.waiter import WaitResult
from nano_banana_tools.arguments import TaskId
from nano_banana_tools.context import ToolContext, principal
from nano_banana_tools.definition import READ_ONLY, ToolDefinition
from nano_banana_tools.results import GenerationResult, to_result

DESCRIPTION = (
    "Return the current state of a picture, free of charge. Do not call it in a loop: to get a picture that is not "
    "finished, call wait_for_image."
)


async def get_task(ctx: ToolContext, task_id: TaskId) -> Annotated[CallToolResult, GenerationResult]:
    """Query once; not at all if the end is recorded."""
    service = ctx.request_context.lifespan_context
    generation = await service.get(task_id, principal())
    return to_result(await service.result(WaitResult(generation)), service.now())


TOOL = ToolDefinition(get_task, "Get task", DESCRIPTION, READ_ONLY)
