"""generate_image: submits a paid request, and waits for the image if asked to."""

from __future__ import annotations

from typing import Annotated

from mcp.types import CallToolResult, InputRequiredResult

from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.models import Status
from nano_banana_tools import apps
from nano_banana_tools.arguments import (
    AspectRatio,
    CallbackUrl,
    Count,
    ImageSize,
    Model,
    Prompt,
    References,
    RequestId,
    SaveAs,
    WaitSeconds,
)
from nano_banana_tools.confirmation import confirm
from nano_banana_tools.context import ToolContext, principal, progress
from nano_banana_tools.definition import PAID, ToolDefinition
from nano_banana_tools.results import GenerationResult, to_result
from nano_banana_tools.tasks.generation_tasks import answers_with_task

DESCRIPTION = (
    "Make a new picture from a text prompt, or edit and combine up to 4 reference pictures. Every call spends "
    "credits: never repeat one because it was slow or its outcome is unknown, unless with its request_id. Pictures "
    "usually take 30-60 s. If the host runs the call as a background task, its result is the finished picture: do not "
    "wait for it. Otherwise it returns a task_id at once: then call wait_for_image. For versions of one picture, use "
    "count; for different pictures, start all first, then wait for each. Show the person the picture's URL."
)


async def generate_image(
    ctx: ToolContext,
    prompt: Prompt,
    images: References = [],  # noqa: B006 - never changed
    model: Model = None,
    aspect_ratio: AspectRatio = None,
    image_size: ImageSize = None,
    count: Count = 1,
    save_as: SaveAs = None,
    callback_url: CallbackUrl = None,
    request_id: RequestId = None,
    wait_seconds: WaitSeconds = 0,
) -> Annotated[CallToolResult, GenerationResult] | InputRequiredResult:
    """Submit once. A failed or unknown outcome is an error; a wait that is given up is not: the image is paid for."""
    service, caller = ctx.request_context.lifespan_context, principal()
    if answers_with_task(ctx):
        wait_seconds = 0
    request = SubmitRequest(
        model=model or await service.model_for(request_id, caller),
        prompt=prompt,
        images=images or None,
        aspect_ratio=aspect_ratio,
        image_size=image_size,
        callback_url=callback_url,
    )
    service.require_possible(request, save_as)
    approval = await confirm(ctx, request, count, request_id, caller)
    if isinstance(approval, InputRequiredResult):
        return approval
    outcome = await service.generate(
        request,
        count=approval.count,
        requested_count=count,
        save_as=save_as,
        principal=caller,
        request_id=approval.request_id,
        generation_id=approval.generation_id,
        wait_seconds=wait_seconds,
        report=progress(ctx, wait_seconds) if wait_seconds else None,
    )
    return to_result(outcome, service.now(), errors=frozenset({Status.FAILED, Status.UNKNOWN}))


TOOL = ToolDefinition(generate_image, "Generate image", DESCRIPTION, PAID, apps.PICTURE_VIEW)
