"""Results of the tools that return a generation: text, structured content and links.

Some hosts show the model only ``structuredContent``, others only the text, so both have every fact. Neither has
base64: an image without a URL is named by its resource URI.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal

from mcp.types import Annotations, CallToolResult, ContentBlock, ResourceLink, TextContent
from pydantic import BaseModel

from nano_banana_mcp.common.files import display_path
from nano_banana_mcp.common.text import shorten
from nano_banana_mcp.generations.batches import MAX_REASON_CHARACTERS, Batch, GenerationOrBatch, located_images, members
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.quotas import in_credits
from nano_banana_mcp.ledger.base import ModelMedians
from nano_banana_mcp.tracking.waiter import WaitResult

if TYPE_CHECKING:
    from nano_banana_mcp.media.export import ExportResult

MAX_MESSAGE_CHARACTERS = 700
MAX_PROBLEM_CHARACTERS = 200

MEMBERS_META = "nano-banana/members"
"""Key of a result's metadata for the picture view: what became of each generation of a batch, in their order."""

USUAL_SECONDS_META = "nano-banana/usual_seconds"
"""The same for what an image of the model usually takes."""


class ImageResult(BaseModel):
    """One image of a result; without a URL where only the resource has its bytes."""

    url: str | None
    resource_uri: str
    mime_type: str


class GenerationResult(BaseModel):
    """The structured content of all tools that return a generation."""

    task_id: str
    status: Literal["pending", "submitted", "in_progress", "success", "failed", "unknown"]
    finished: bool
    images: list[ImageResult]
    saved_paths: list[str]
    model: str | None
    credits_consumed: str | None
    message: str | None
    next_step: str | None
    elapsed_seconds: float | None


def resource_uri(task_id: str, number: int) -> str:
    """The URI under which this server serves an image, even after its URL has expired."""
    return f"nanobanana://tasks/{task_id}/images/{number}"


def describe(outcome: WaitResult, now: float) -> GenerationResult:
    """The structured content for a generation at ``now`` (Unix time, seconds)."""
    generation = outcome.generation
    elapsed = generation.elapsed_seconds(now)
    return GenerationResult(
        task_id=generation.public_id,
        status=generation.status.value,
        finished=generation.finished,
        images=[
            ImageResult(
                url=owner.images[number].url,
                resource_uri=resource_uri(owner.public_id, number),
                mime_type=owner.images[number].mime_type,
            )
            for owner, number in located_images(generation)
        ],
        saved_paths=[display_path(path) for path in outcome.export.paths] if outcome.export else [],
        model=generation.model,
        credits_consumed=generation.credits_consumed,
        message=_message(outcome),
        next_step=_next_step(generation),
        elapsed_seconds=None if elapsed is None else round(elapsed, 1),
    )


def to_result(
    outcome: WaitResult, now: float, *, errors: frozenset[Status] = frozenset(), giving_up_is_error: bool = False
) -> CallToolResult:
    """The whole result: text, a link for each image, and the structured content.

    Args:
        now: Unix time, seconds.
        errors: The states that make the result an error.
        giving_up_is_error: Whether a wait that was given up is an error. Not for a call that has paid for an image: a
            model that reads "error" there pays again.
    """
    facts = describe(outcome, now)
    content: list[ContentBlock] = [TextContent(type="text", text=_text(facts))]
    content += [
        _link(f"{owner.public_id}-{number}", f" {position} of {len(facts.images)}", facts.images[position - 1])
        for position, (owner, number) in enumerate(located_images(outcome.generation), 1)
    ]
    return CallToolResult(
        content=content,
        structured_content=facts.model_dump(mode="json"),
        is_error=outcome.generation.status in errors or (giving_up_is_error and outcome.given_up),
        _meta=_view_meta(outcome),
    )


def _view_meta(outcome: WaitResult) -> dict[str, Any] | None:
    """What the picture view shows besides the structured content, which has fixed fields."""
    item = outcome.generation
    meta: dict[str, Any] = {}
    if isinstance(item, Batch):
        meta[MEMBERS_META] = [{"task_id": one.public_id, "reason": _shortfall(one)} for one in item.generations]
    if outcome.usual is not None and outcome.usual.seconds is not None:
        meta[USUAL_SECONDS_META] = round(outcome.usual.seconds, 1)
    return meta or None


def _shortfall(generation: Generation) -> str | None:
    """Why there will be no image; None if there is one, or one is being made."""
    if generation.is_open or generation.images:
        return None
    return shorten(generation.with_message().message or "", MAX_REASON_CHARACTERS) or None


def as_json(item: GenerationOrBatch, now: float) -> dict[str, Any]:
    """A generation or a batch as a JSON resource: the structured content, the prompt and the options."""
    created = datetime.fromtimestamp(item.created_at, UTC).isoformat(timespec="seconds")
    facts = describe(WaitResult(item), now).model_dump(mode="json")
    return {
        **facts,
        "prompt": item.prompt,
        "options": item.options,
        "created_at": created,
        "batch_id": members(item)[0].batch_id,
    }


def format_credits(amount: str | None) -> str | None:
    """An amount of credits as text: "0.5 credits"; None if it is not known."""
    if amount is None:
        return None
    try:
        return in_credits(Decimal(amount))
    except InvalidOperation:
        return f"{amount} credits"


def _message(outcome: WaitResult) -> str | None:
    # Saved paths and the note are never cut: half a path is useless, and the note may be that nothing is recorded.
    saved = _describe_export(outcome.export)
    parts = [_describe_usual(outcome), _describe_format(outcome), outcome.generation.message]
    if outcome.last_error is not None:
        advice = f" {outcome.last_error.hint}" if outcome.given_up else ""
        remains = "" if outcome.generation.finished else " The task itself is not lost."
        parts.insert(0, f"The last query failed: {outcome.last_error.message}{remains}{advice}")
    other = shorten(" ".join(part for part in parts if part), MAX_MESSAGE_CHARACTERS)
    return " ".join(part for part in (saved, other, outcome.note) if part) or None


def _describe_usual(outcome: WaitResult) -> str | None:
    """What the images to come usually cost and take together; None if that is not known."""
    if outcome.usual is None:
        return None
    count = len(members(outcome.generation))
    usual = describe_medians(outcome.usual, count)
    subject = "This model" if count == 1 else f"{count} pictures of this model"
    return None if usual is None else f"{subject}: usually {usual}."


def describe_medians(medians: ModelMedians, count: int = 1) -> str | None:
    """What images of a model cost and take, as in "0.5 credits, about 34 s"; None if that is not known.

    Args:
        count: Number of images that are made together: the credits are those of all.
    """
    facts = [] if medians.credits is None else [in_credits(medians.credits * count)]
    facts += [] if medians.seconds is None else [f"about {max(1, round(medians.seconds))} s"]
    return ", ".join(facts) or None


def _describe_format(outcome: WaitResult) -> str | None:
    """What was asked for, and what came: models may ignore a format or size without a word."""
    asked_for = outcome.generation.requested_format
    if not asked_for or outcome.generation.status is Status.FAILED:
        return None
    sizes = dict.fromkeys(f"{size[0]}×{size[1]}" for size in outcome.sizes if size is not None)
    return f"Requested {asked_for}, got {' and '.join(sizes)}." if sizes else f"Requested {asked_for}."


def _describe_export(export: ExportResult | None) -> str:
    """Where the images were saved, or why they were not."""
    if export is None:
        return ""
    sentences = []
    if export.paths:
        sentences.append(f"Saved as {', '.join(map(display_path, export.paths))}.")
    elif export.saved:
        sentences.append("Saved by the server.")
    if export.saving:
        sentences.append("Still being saved.")
    if export.problem is not None:
        problem = export.problem.rstrip(".")[:MAX_PROBLEM_CHARACTERS]
        advice = (
            "The URL did not return an image. Check it before you share it."
            if export.spoiled
            else "The picture is not lost: save it from its URL soon."
        )
        sentences.append(f"Not saved: {problem}. {advice}")
    return " ".join(sentences)


def _next_step(item: GenerationOrBatch) -> str | None:
    if item.is_open:
        return f'Call wait_for_image with task_id "{item.public_id}".'
    if any(generation.is_unsent and generation.request_id for generation in members(item)):
        return "Call again with the same request_id: only images that were never sent are submitted."
    if item.status is Status.UNKNOWN:
        return "Do not repeat the call: it could be charged twice. Ask the person to check the defapi account."
    if item.status is Status.FAILED:
        return "Tell the person why. Calling generate_image with a changed prompt makes a new, paid picture."
    return None


def _text(result: GenerationResult) -> str:
    """Every fact of the structured content, in a few lines."""
    facts = [f"task_id {result.task_id}", f"finished {str(result.finished).lower()}"]
    facts += [f"model {result.model}"] if result.model else []
    facts += [amount] if (amount := format_credits(result.credits_consumed)) else []
    facts += [f"{result.elapsed_seconds:g} s"] if result.elapsed_seconds is not None else []
    lines = [f"{result.status}: {', '.join(facts)}"]
    lines += [result.message] if result.message else []
    for image in result.images:
        uri = f"resource_uri {image.resource_uri}"
        lines.append(f"{uri} ({image.mime_type})" if image.url is None else f"{image.url} ({image.mime_type}), {uri}")
    lines += [f"Next: {result.next_step}"] if result.next_step else []
    return "\n".join(lines)


def _link(name: str, position: str, image: ImageResult) -> ResourceLink:
    extension = image.mime_type.removeprefix("image/").replace("jpeg", "jpg")
    return ResourceLink(
        type="resource_link",
        uri=image.url or image.resource_uri,
        name=f"{name}.{extension}",
        title="Generated picture" if position == " 1 of 1" else f"Generated picture{position}",
        mime_type=image.mime_type,
        annotations=Annotations(audience=["user", "assistant"], priority=1.0),
    )
