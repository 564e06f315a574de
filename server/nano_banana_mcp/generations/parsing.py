"""Reads what the API said about a task into its generation. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nano_banana_mcp.common.text import clean, sentence
from nano_banana_mcp.defapi.schemas import TaskSnapshot
from nano_banana_mcp.generations.models import GeneratedImage, Generation, Status
from nano_banana_mcp.images.data_uri import label_of, read_image
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.images.formats import guess_from_url
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.public_urls import is_inside_network, origin_of, without_user

MAX_INLINE_BYTES = 48 * 1024 * 1024
"""Bytes of an image inside an answer: all that an answer can hold. It was paid for, and is in memory already."""

KEPT_ANSWER = "The answer of the API is kept, and get_task reads it again after an update of this server."
"""Part of the message of a generation with an image that could not be read."""

MAX_IMAGES = 16
"""More images than any model of the API makes at once; further ones are only kept with the answer."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A generation after an answer of the API.

    Attributes:
        generation: The generation in its new state.
        encoded_images: Images whose bytes came with the answer, by number.
        is_unreadable: Whether something in the answer stands where an image should be, and cannot be read.
    """

    generation: Generation
    encoded_images: dict[int, EncodedImage]
    is_unreadable: bool = False


def read(generation: Generation, snapshot: TaskSnapshot, now: float, *, api_url: str = "") -> Reading:
    """Return ``generation`` as the API reports it now.

    A status that is not in the API's list means "still working". A success without an image is a failure that may
    have cost credits; its message says so and quotes the model.

    Args:
        snapshot: The answer to a query.
        now: Unix time in seconds.
        api_url: Address of the API: images at its own origin may be inside a network.
    """
    status = _status(snapshot.status)
    if not status.finished:
        return Reading(replace(generation, status=status, credits_consumed=snapshot.consumed, open_at=now), {})
    images, encoded_images, problems, remarks = _images(snapshot, api_url)
    message = " ".join([*remarks, snapshot.reason or clean(" ".join(snapshot.texts))]).strip() or None
    if problems and images:
        message = (
            f"{len(problems)} more could not be used: {sentence(problems[0])} {KEPT_ANSWER} {message or ''}".strip()
        )
    if status is Status.SUCCESS and not images:
        status, message = Status.FAILED, _why_no_image(snapshot, problems)
        if snapshot.is_unexplained and not problems:
            problems, message = ["its shape is not known"], f"{message} {KEPT_ANSWER}"
    elif status is Status.FAILED:
        message = snapshot.reason or clean(" ".join(snapshot.texts)) or "The generation failed; the API gave no reason."
        images, encoded_images, problems = (), {}, []
    ended = replace(
        generation,
        status=status,
        images=images,
        credits_consumed=snapshot.consumed,
        message=message,
        finished_at=generation.finished_at or now,
        ended_at=generation.ended_at or _ended_at(generation, snapshot, now),
    )
    return Reading(ended, encoded_images, bool(problems))


def _ended_at(generation: Generation, snapshot: TaskSnapshot, now: float) -> float | None:
    """When it ended by the clock here; None if the API does not say, or says what cannot be."""
    submitted_at, ended_at = generation.submitted_at, snapshot.ended_at
    if submitted_at is None or ended_at is None:
        return None
    if not submitted_at <= ended_at <= now and snapshot.created_at is not None:  # the clocks differ
        ended_at += submitted_at - snapshot.created_at
    return ended_at if submitted_at <= ended_at <= now else None


def _status(word: str) -> Status:
    try:
        status = Status(word)
    except ValueError:
        return Status.IN_PROGRESS
    return Status.IN_PROGRESS if status is Status.UNKNOWN else status


def _images(
    snapshot: TaskSnapshot, api_url: str
) -> tuple[tuple[GeneratedImage, ...], dict[int, EncodedImage], list[str], list[str]]:
    """Return the images, the bytes that came with the answer, what cannot be read, and what was changed."""
    images: list[GeneratedImage] = []
    encoded_images: dict[int, EncodedImage] = {}
    problems = [f"a text of {len(text)} characters that is no image address" for text in snapshot.unreadable]
    problems += [f"it is beyond the first {MAX_IMAGES} images" for _ in snapshot.image_sources[MAX_IMAGES:]]
    remarks: list[str] = []
    for source in snapshot.image_sources[:MAX_IMAGES]:
        if source[:5].lower() in ("http:", "https"):
            url = without_user(source)
            if is_inside_network(url) and origin_of(url) != origin_of(api_url):
                problems.append("its URL leads to an internal address, which is not passed on")
                continue
            if url != source:
                remarks.append("A user name was removed from an image's URL.")
            images.append(GeneratedImage(url, guess_from_url(url)))
            continue
        try:
            encoded = read_image(source, max_bytes=MAX_INLINE_BYTES, source="it")
        except ImageError as error:
            problems.append(f"{_describe_source(source)} ({error.message.rstrip('.')})")
            continue
        encoded_images[len(images)] = encoded
        images.append(GeneratedImage(None, encoded.mime_type))
    return tuple(images), encoded_images, problems, list(dict.fromkeys(remarks))


def _describe_source(source: str) -> str:
    """Name what stands where an image should be, without its content."""
    label = label_of(source)
    count = len(source.rpartition(",")[2].rstrip("=")) * 3 // 4
    size = f"{-(-count // 1_000)} kB" if count >= 1_000 else f"{count} bytes"
    return f"{size} of data {f'labelled {clean(label, 80)}' if label else 'without a label'}"


def _why_no_image(snapshot: TaskSnapshot, problems: list[str]) -> str:
    charged = "The API reports success, so this image may have been charged."
    said = f" The model said: “{clean(' '.join(snapshot.texts))}”" if snapshot.texts else ""
    if problems:
        return f"{charged} Its image cannot be read: {sentence(problems[0])} {KEPT_ANSWER}{said}"
    if snapshot.texts:
        return f"{charged} The model answered in words instead of drawing: “{clean(' '.join(snapshot.texts))}”"
    if snapshot.reason:
        return f"{charged} The answer contains no image: {sentence(snapshot.reason)}"
    return f"{charged} The answer contains no image."
