"""upload_image: takes an image from a page in the conversation, piece by piece. Hidden from models."""

from __future__ import annotations

from typing import Annotated

from mcp.types import CallToolResult, TextContent
from pydantic import Field

from nano_banana_mcp.images.data_uri import read_base64
from nano_banana_mcp.service.uploads import MAX_PIECES, upload_reference
from nano_banana_tools import apps
from nano_banana_tools.arguments import UploadId
from nano_banana_tools.context import ToolContext, principal
from nano_banana_tools.definition import ADDING, ToolDefinition

DESCRIPTION = "For the picture's own view only: takes a picture in pieces."


async def upload_image(
    ctx: ToolContext,
    data: Annotated[str, Field(max_length=400_000, description="Base64.")],
    upload_id: UploadId = None,
    image: Annotated[int, Field(ge=0, le=3, description="Which picture.")] = 0,
    piece: Annotated[int, Field(ge=0, lt=MAX_PIECES, description="Which piece.")] = 0,
    pieces: Annotated[int, Field(ge=1, le=MAX_PIECES, description="How many.")] = 1,
) -> CallToolResult:
    """Take a piece; the last one must come last. Without ``upload_id``, begin an upload that no model asked for."""
    uploads = ctx.request_context.lifespan_context.uploads
    part = read_base64(data, source="data")
    request = await (uploads.ask(principal()) if upload_id is None else uploads.find(upload_id, principal()))
    upload = await uploads.receive_piece(request, image, piece, pieces, part)
    reference = None if upload is None else upload_reference(upload)
    text = f"upload_id {request.upload_id}: " + (
        f"piece {piece + 1} of {pieces}" if reference is None else str(reference["resource_uri"])
    )
    return CallToolResult(
        content=[TextContent(type="text", text=text)],
        structured_content={"upload_id": request.upload_id, "reference": reference},
    )


TOOL = ToolDefinition(upload_image, "Upload image", DESCRIPTION, ADDING, apps.APP_ONLY)
