"""wait_for_image: waits for the end of a generation."""

from __future__ import annotations

from typing import Annotated

from mcp.types import CallToolResult

from nano_banana_mcp.generations.models import Status
from nano_banana_tools import apps
from nano_banana_tools.arguments import TaskId, TimeoutSeconds
from nano_banana_tools.context import ToolContext, principal, progress
from nano_banana_tools.definition import READ_ONLY, ToolDefinition
from nano_banana_tools.results import GenerationResult, to_result
from nano_banana_tools.tasks.generation_tasks import answers_with_task

DESCRIPTION = (
    "Wait until a picture is finished and return it, free of charge. If the time runs out, the answer is the state "
    "so far and the picture goes on: call again with the same task_id."
)


async def wait_for_image(
    ctx: ToolContext,
    task_id: TaskId,
    timeout_seconds: TimeoutSeconds = 45,
) -> Annotated[CallToolResult, GenerationResult]:
    """Wait with progress. A timeout is not an error."""
    service = ctx.request_context.lifespan_context
    if answers_with_task(ctx):
        outcome = await service.poll(task_id, principal())
    else:
        outcome = await service.wait(task_id, timeout_seconds, progress(ctx, timeout_seconds), principal())
    return to_result(outcome, service.now(), errors=frozenset({Status.FAILED}), giving_up_is_error=True)


TOOL = ToolDefinition(wait_for_image, "Wait for image", DESCRIPTION, READ_ONLY, apps.PICTURE_VIEW)
