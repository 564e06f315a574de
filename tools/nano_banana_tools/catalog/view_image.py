"""The tool that lets the model see what it made."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcp.types import CallToolResult, ContentBlock, ImageContent, TextContent

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.tracking.waiter import WaitResult
from nano_banana_tools.arguments import MaxSide, Number, TaskId
from nano_banana_tools.context import CurrentService, principal
from nano_banana_tools.results import describe

if TYPE_CHECKING:
    from nano_banana_mcp.images.resizing.resize import Shrunk
    from nano_banana_mcp.media.previews import View


DESCRIPTION = (
    "See the finished pictures of a task yourself, free of charge: returns them as images, shrunk. Use it to check or "
    "describe a picture, or before changing it. For the person, show the URL instead."
)


# No output schema: hosts that get structured content drop the images.
async def view_image(
    service: CurrentService, task_id: TaskId, number: Number = None, max_side: MaxSide = 1024
) -> CallToolResult:
    """Look."""
    from nano_banana_mcp.media.previews import view

    generation = await service.look(task_id, principal())
    numbers = numbers_of(generation, number)
    if not numbers:
        return nothing_to_see(WaitResult(generation, note=service.ledger.problem), service.now(), number)
    return to_view_result(generation, await view(service.album, generation, numbers, max_side=max_side))


MAX_TROUBLE_CHARACTERS = 300


def numbers_of(generation: Generation, number: int | None) -> Sequence[int]:
    """Which pictures are meant: all, or the one of that number; none where there is none."""
    there = range(len(generation.images))
    if number is None:
        return there
    return [number] if number in there else []


def nothing_to_see(waited: WaitResult, now: float, number: int | None) -> CallToolResult:
    """Why there is no picture (of that number), and what to do. Only a picture that will not come is an error."""
    generation = waited.generation
    described = describe(waited, now)
    if generation.images:
        count = len(generation.images)
        there = "is 1 picture, number 0" if count == 1 else f"are {count} pictures, number 0 to {count - 1}"
        words = [f"There is no picture number {number}: there {there}."]
    else:
        words = [f"{described.status}: there is no picture{'' if generation.finished else ' yet'}."]
        words += [described.message] if described.message else []
        words += [f"Next: {described.next_step}"] if described.next_step else []
    return CallToolResult(content=[TextContent(type="text", text="\n".join(words))], is_error=generation.finished)


def to_view_result(generation: Generation, views: Sequence[View]) -> CallToolResult:
    """The pictures, and before them what became of each on the way. An error only where none is left."""
    lines = [f"task_id {generation.public_id}, {len(generation.images)} picture(s)"]
    blocks: list[ContentBlock] = []
    for view in views:
        if view.shown is None:
            lines.append(f"Picture {view.number} was left out: {(view.trouble or '')[:MAX_TROUBLE_CHARACTERS]}")
            continue
        lines.append(f"Picture {view.number}: {_what(view.shown)}")
        data = base64.b64encode(view.shown.data).decode("ascii")
        blocks.append(ImageContent(type="image", data=data, mime_type=view.shown.mime_type))
    text = TextContent(type="text", text="\n".join(lines))
    return CallToolResult(content=[text, *blocks], is_error=not blocks)


def _what(shown: Shrunk) -> str:
    now = _facts(shown.size, shown.mime_type, len(shown.data))
    if shown.untouched:
        return f"{now}, as it is"
    still = "the first frame of " if shown.still else ""
    return f"{now}, made of {still}{_facts(shown.original_size, shown.original_mime_type, shown.original_bytes)}"


def _facts(size: tuple[int, int], mime_type: str, count: int) -> str:
    bytes_ = f"{count / 1_000_000:.1f} MB" if count >= 1_000_000 else f"{-(-count // 1_000)} kB"
    return f"{size[0]} x {size[1]} {mime_type.removeprefix('image/').upper()}, {bytes_}"
