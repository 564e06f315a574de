"""Generation → CallToolResult. The only place that writes for the model.

Some hosts show the model only ``structuredContent``, others only the text, so every fact is in both. No
base64 is in either: a picture without a URL is named by its resource URI.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mcp.types import Annotations, CallToolResult, ContentBlock, ResourceLink, TextContent
from pydantic import BaseModel, Field

from nano_banana_mcp.generations.models import GeneratedImage, Generation, Status
from nano_banana_mcp.tracking.waiter import WaitResult

if TYPE_CHECKING:
    from nano_banana_mcp.media.export import ExportResult as Kept

MAX_TEXT_BYTES = 600
MIN_MESSAGE_BYTES = 160
MAX_MESSAGE_CHARACTERS = 700
MAX_PROBLEM_CHARACTERS = 200
NOT_LOST = "The picture is not lost: save it from its link soon."
NOTHING_THERE = "Its link leads to no picture, so there may be none: look before promising one."


class ImageResult(BaseModel):
    """One picture in a result."""

    url: str | None
    resource_uri: str
    mime_type: str


class GenerationResult(BaseModel):
    """The one answer shape of all tools that have one."""

    task_id: str
    status: Literal["pending", "submitted", "in_progress", "success", "failed", "unknown"]
    finished: bool
    images: Annotated[list[ImageResult], Field(description="url is null if only resource_uri has the picture")]
    model: str | None
    credits_consumed: str | None
    message: Annotated[str | None, Field(description="why it failed, or what the model said")]
    next_step: Annotated[str | None, Field(description="what to call now")]
    elapsed_seconds: float | None


def resource_uri(task_id: str, number: int) -> str:
    """The URI under which this server reads out a picture, whatever became of its URL."""
    return f"nanobanana://tasks/{task_id}/images/{number}"


def describe(waited: WaitResult, now: float) -> GenerationResult:
    """The answer shape for a generation at ``now`` (Unix time, seconds)."""
    generation = waited.generation
    elapsed = generation.elapsed_seconds(now)
    return GenerationResult(
        task_id=generation.public_id,
        status=generation.status.value,
        finished=generation.finished,
        images=[
            ImageResult(url=image.url, resource_uri=resource_uri(generation.public_id, n), mime_type=image.mime_type)
            for n, image in enumerate(generation.images)
        ],
        model=generation.model,
        credits_consumed=generation.credits_consumed,
        message=_message(waited),
        next_step=_next_step(waited),
        elapsed_seconds=None if elapsed is None else round(elapsed, 1),
    )


def to_result(
    waited: WaitResult, now: float, *, errors: frozenset[Status] = frozenset(), giving_up_is_error: bool = False
) -> CallToolResult:
    """The whole result: text, a link for each picture, and the structured answer.

    Args:
        errors: The states that are an error of this call, and not just what it found.
        giving_up_is_error: Whether a wait that was given up is one too. Not of a call that has paid for a picture: a
            model that reads "error" there pays again.
    """
    described = describe(waited, now)
    content: list[ContentBlock] = [TextContent(type="text", text=_text(described, _bytes(_saved(waited.kept))))]
    content += [
        _link(waited.generation, number, image, described.images[number].resource_uri)
        for number, image in enumerate(waited.generation.images)
    ]
    return CallToolResult(
        content=content,
        structured_content=described.model_dump(mode="json"),
        is_error=waited.generation.status in errors or (giving_up_is_error and waited.given_up),
    )


def as_json(generation: Generation, now: float) -> dict[str, Any]:
    """A generation for the JSON resources: the answer shape and what was asked for."""
    created = datetime.fromtimestamp(generation.created_at, UTC).isoformat(timespec="seconds")
    described = describe(WaitResult(generation), now).model_dump(mode="json")
    return {**described, "prompt": generation.prompt, "options": generation.options, "created_at": created}


def _message(waited: WaitResult) -> str | None:
    parts = [waited.generation.message, waited.note]
    if waited.trouble is not None:
        lasting = "" if waited.generation.finished else " The task itself is not lost."
        advice = f" {waited.trouble.hint}" if waited.given_up else ""
        parts.insert(0, f"The last query failed: {waited.trouble.message}{lasting}{advice}")
    # Where it was saved comes first: what is cut, is cut at the end, and half a path is none.
    saved = _saved(waited.kept)
    message = " ".join(part for part in (saved, *parts) if part)
    return _cut(message, max(MAX_MESSAGE_CHARACTERS, len(saved) + 2)) if message else None


def _saved(kept: Kept | None) -> str:
    """In words, what became of the saving of the pictures."""
    if kept is None:
        return ""
    words = []
    if kept.paths:
        more = f" ({len(kept.paths) - 1} more beside it)" if len(kept.paths) > 1 else ""
        words.append(f"Saved as {os.fsencode(kept.paths[0]).decode('utf-8', 'replace')}{more}.")
    elif kept.saved:
        words.append("Saved by the server.")
    if kept.saving:
        words.append("It is still being saved.")
    if kept.problem is not None:
        advice = NOTHING_THERE if kept.spoiled else NOT_LOST
        words.append(f"Not saved: {kept.problem.rstrip('.')[:MAX_PROBLEM_CHARACTERS]}. {advice}")
    return " ".join(words)


def _next_step(waited: WaitResult) -> str | None:
    generation = waited.generation
    if generation.status is Status.FAILED:
        return "Tell the person why. generate_image with a changed prompt is a new, paid picture."
    if generation.task_id is None:
        return "Do not repeat it: it could be charged twice. Ask the person to look at the defapi account."
    if not generation.finished:
        return f'Call wait_for_image with task_id "{generation.task_id}".'
    return None


def _text(result: GenerationResult, whole_bytes: int = 0) -> str:
    """All facts in a few lines, within :data:`MAX_TEXT_BYTES` of UTF-8.

    What gives way when it gets long: first URLs become resource URIs, then pictures beyond the first are only
    counted, and what is left is the message's. The structured answer and the links stay whole.

    Args:
        whole_bytes: So much of the message's beginning is never cut, even if that makes the text longer.
    """
    facts = [f"task_id {result.task_id}", f"finished {str(result.finished).lower()}"]
    facts += [f"model {result.model}"] if result.model else []
    facts += [f"credits {result.credits_consumed}"] if result.credits_consumed else []
    facts += [f"{result.elapsed_seconds:g} s"] if result.elapsed_seconds is not None else []
    head = f"{result.status}: {', '.join(facts)}"
    tail = [f"Next: {result.next_step}"] if result.next_step else []
    urls = [f"{image.url or image.resource_uri} ({image.mime_type})" for image in result.images]
    short = [image.resource_uri for image in result.images]
    counted = [*short[:1], f"and {len(short) - 1} more"] if len(short) > 1 else short
    whole_bytes += 0 if result.message is None or _bytes(result.message) == whole_bytes else _bytes(" …")
    least = 0 if result.message is None else max(min(MIN_MESSAGE_BYTES, _bytes(result.message)), whole_bytes) + 1
    for images in (urls, short, counted, []):
        room = MAX_TEXT_BYTES - _bytes("\n".join([head, *images, *tail]))
        if room >= least:
            break
    message = [] if result.message is None else [_cut_to_bytes(result.message, max(room - 1, whole_bytes))]
    longest = max(MAX_TEXT_BYTES, _bytes(head) + 1 + whole_bytes)
    return _cut_to_bytes("\n".join([head, *message, *images, *tail]), longest)


def _link(generation: Generation, number: int, image: GeneratedImage, fallback: str) -> ResourceLink:
    many = f" {number + 1} of {len(generation.images)}" if len(generation.images) > 1 else ""
    extension = image.mime_type.removeprefix("image/").replace("jpeg", "jpg")
    return ResourceLink(
        type="resource_link",
        uri=image.url or fallback,
        name=f"{generation.public_id}-{number}.{extension}",
        title=f"Generated picture{many}",
        mime_type=image.mime_type,
        annotations=Annotations(audience=["user", "assistant"], priority=1.0),
    )


def _bytes(text: str) -> int:
    return len(text.encode())


def _cut_to_bytes(text: str, most: int) -> str:
    if _bytes(text) <= most:
        return text
    return text.encode()[: max(0, most - len("…".encode()))].decode(errors="ignore") + "…"


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"
