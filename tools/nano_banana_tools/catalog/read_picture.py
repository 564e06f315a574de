"""The tool of the picture's view, for hosts that pass it no resources. Not meant for models, who would be flooded."""

from __future__ import annotations

import base64
from typing import Annotated

from mcp.types import Annotations, CallToolResult, ImageContent
from pydantic import Field

from nano_banana_tools.arguments import SmallerSide, TaskId
from nano_banana_tools.context import CurrentService, principal

DESCRIPTION = "For the picture's own view only: its bytes. To show or link a picture, use its url."

MAX_SIDE, MAX_BYTES = 2048, 700_000
"""In base64 below the 1 MB at which hosts refuse a result."""


async def read_picture(
    service: CurrentService,
    task_id: TaskId,
    number: Annotated[int, Field(ge=0, le=999, description="Which picture, from 0.")] = 0,
    max_side: SmallerSide = MAX_SIDE,
) -> CallToolResult:
    """The bytes of a picture, small enough for a result."""
    generation = await service.look(task_id, principal())
    from nano_banana_mcp.media.previews import preview

    image = await preview(service.album, generation, number, max_side=max_side, max_bytes=MAX_BYTES)
    content = ImageContent(
        type="image",
        data=base64.b64encode(image.data).decode(),
        mime_type=image.mime_type,
        annotations=Annotations(audience=["user"]),
    )
    prompt = {} if generation.prompt is None else {"nano-banana/prompt": generation.prompt}
    return CallToolResult(content=[content], _meta=prompt)
