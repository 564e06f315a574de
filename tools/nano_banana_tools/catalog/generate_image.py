"""The tool that spends credits."""

from __future__ import annotations

from typing import Annotated

from mcp.types import CallToolResult

from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.models import Status
from nano_banana_tools.arguments import (
    AspectRatio,
    CallbackUrl,
    ImageSize,
    Model,
    Prompt,
    ReferenceResolver,
    RequestId,
    WaitSeconds,
)
from nano_banana_tools.context import CurrentService, ToolContext, principal, progress
from nano_banana_tools.results import GenerationResult, to_result

DESCRIPTION = (
    "Make a new picture from a text prompt, or edit and combine up to 4 reference pictures. Every call spends "
    "credits: never repeat one because it was slow or its outcome is unknown, unless with its request_id. Returns a "
    "task_id at once (pictures usually take 30-60 s): then call wait_for_image. For several pictures, start all "
    "first, then wait for each. Show the person the picture's URL."
)


async def generate_image(
    ctx: ToolContext,
    service: CurrentService,
    prompt: Prompt,
    images: ReferenceResolver = [],  # noqa: B006 - never changed
    model: Model = None,
    aspect_ratio: AspectRatio = None,
    image_size: ImageSize = None,
    callback_url: CallbackUrl = None,
    request_id: RequestId = None,
    wait_seconds: WaitSeconds = 0,
) -> Annotated[CallToolResult, GenerationResult]:
    """Submit once, and wait if asked to."""
    request = SubmitRequest(
        model=model or service.default_model,
        prompt=prompt,
        images=images or None,
        aspect_ratio=aspect_ratio,
        image_size=image_size,
        callback_url=callback_url,
    )
    waited = await service.generate(
        request,
        principal=principal(),
        request_id=request_id,
        wait_seconds=wait_seconds,
        report=progress(ctx, wait_seconds),
    )
    return to_result(waited, service.now(), errors=frozenset({Status.FAILED, Status.UNKNOWN}))
