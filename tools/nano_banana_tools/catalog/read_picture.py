"""read_picture: the bytes of an image for the picture view, in hosts that read no resources. Hidden from models."""

from __future__ import annotations

import base64
from typing import Annotated

from mcp.types import Annotations, CallToolResult, ImageContent
from pydantic import Field

from nano_banana_tools import apps
from nano_banana_tools.arguments import TaskId, ViewSide
from nano_banana_tools.context import ToolContext, principal
from nano_banana_tools.definition import READ_ONLY, ToolDefinition

DESCRIPTION = "For the picture's own view only: its bytes. To show or link a picture, use its url."

MAX_BYTES = 700_000
"""Bytes of the image; as base64 below the 1 MB at which hosts refuse a result."""


async def read_picture(
    ctx: ToolContext,
    task_id: TaskId,
    number: Annotated[int, Field(ge=0, le=999, description="Which picture, from 0.")] = 0,
    max_side: ViewSide = 2048,
) -> CallToolResult:
    """Return one image, shrunk to what a result may hold."""
    service = ctx.request_context.lifespan_context
    generation = await service.get(task_id, principal())
    from nano_banana_mcp.media.previews import preview

    image = await preview(service.images, generation, number, max_side=max_side, max_bytes=MAX_BYTES)
    content = ImageContent(
        type="image",
        data=base64.b64encode(image.data).decode(),
        mime_type=image.mime_type,
        annotations=Annotations(audience=["user"]),
    )
    prompt = {} if generation.prompt is None else {"nano-banana/prompt": generation.prompt}
    return CallToolResult(content=[content], _meta=prompt)


TOOL = ToolDefinition(read_picture, "Read picture", DESCRIPTION, READ_ONLY, apps.APP_ONLY)
