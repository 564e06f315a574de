"""view_image: shows the model the images of a generation."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcp.types import CallToolResult, ContentBlock, ImageContent, TextContent

from nano_banana_mcp.generations.batches import GenerationOrBatch, located_images
from nano_banana_mcp.tracking.waiter import WaitResult
from nano_banana_tools.arguments import MaxSide, Number, TaskId
from nano_banana_tools.context import ToolContext, principal
from nano_banana_tools.definition import READ_ONLY, ToolDefinition
from nano_banana_tools.results import describe

if TYPE_CHECKING:
    from nano_banana_mcp.images.resizing.resize import ShrunkImage
    from nano_banana_mcp.media.previews import View

DESCRIPTION = (
    "See the finished pictures of a task yourself, free of charge: returns them as images, shrunk. Use it to check or "
    "describe a picture, or before changing it. For the person, show the URL instead."
)

MAX_REASON_CHARACTERS = 300


# No output schema: hosts that get structured content drop the images.
async def view_image(
    ctx: ToolContext, task_id: TaskId, number: Number = None, max_side: MaxSide = 1024
) -> CallToolResult:
    """Return all images of a generation or batch, or one of them."""
    from nano_banana_mcp.media.previews import view  # imports Pillow's worker

    service = ctx.request_context.lifespan_context
    generation = await service.get(task_id, principal())
    numbers = select_numbers(generation, number)
    if not numbers:
        return no_image_result(WaitResult(generation, note=service.ledger.problem), service.now(), number)
    return to_view_result(generation, await view(service.images, generation, numbers, max_side=max_side))


def select_numbers(item: GenerationOrBatch, number: int | None) -> Sequence[int]:
    """The numbers of the requested images: all, or the one of ``number``; empty if there is no such image."""
    available = range(len(located_images(item)))
    if number is None:
        return available
    return [number] if number in available else []


def no_image_result(state: WaitResult, now: float, number: int | None) -> CallToolResult:
    """Report why there is no image (of that number), and what to do. An error only once the generation has ended."""
    generation = state.generation
    facts = describe(state, now)
    if count := len(located_images(generation)):
        available = "There is 1 picture, number 0" if count == 1 else f"There are {count}, number 0 to {count - 1}"
        lines = [f"This task has no picture number {number}. {available}."]
    else:
        lines = [f"{facts.status}: this task has no picture{'' if generation.finished else ' yet'}."]
        lines += [facts.message] if facts.message else []
        lines += [f"Next: {facts.next_step}"] if facts.next_step else []
    return CallToolResult(content=[TextContent(type="text", text="\n".join(lines))], is_error=generation.finished)


def to_view_result(item: GenerationOrBatch, views: Sequence[View]) -> CallToolResult:
    """The images, and one line for each: its size and what was changed, or why it is missing.

    The result is an error only if it has no image at all.
    """
    count = len(located_images(item))
    lines = [f"task_id {item.public_id}, {count} picture{'' if count == 1 else 's'}"]
    if item.options:
        lines.append(f"Asked for: {item.options}")
    blocks: list[ContentBlock] = []
    for view in views:
        if view.shown is None:
            lines.append(f"Picture {view.number} is missing: {(view.trouble or '')[:MAX_REASON_CHARACTERS]}")
            continue
        lines.append(f"Picture {view.number}: {_describe_view(view.shown)}")
        data = base64.b64encode(view.shown.data).decode("ascii")
        blocks.append(ImageContent(type="image", data=data, mime_type=view.shown.mime_type))
    text = TextContent(type="text", text="\n".join(lines))
    return CallToolResult(content=[text, *blocks], is_error=not blocks)


def _describe_view(shown: ShrunkImage) -> str:
    size = _describe_file(shown.size, shown.mime_type, len(shown.data))
    if shown.untouched:
        return f"{size}, original"
    frame = "the first frame of " if shown.still else ""
    original = _describe_file(shown.original_size, shown.original_mime_type, shown.original_bytes)
    return f"{size}, made from {frame}{original}"


def _describe_file(size: tuple[int, int], mime_type: str, count: int) -> str:
    amount = f"{count / 1_000_000:.1f} MB" if count >= 1_000_000 else f"{-(-count // 1_000)} kB"
    return f"{size[0]} x {size[1]} {mime_type.removeprefix('image/').upper()}, {amount}"


TOOL = ToolDefinition(view_image, "View image", DESCRIPTION, READ_ONLY)
