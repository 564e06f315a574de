"""Reads what the API said about a task into its generation. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nano_banana_mcp.common.text import clean, sentence
from nano_banana_mcp.defapi.schemas import TaskSnapshot
from nano_banana_mcp.generations.models import GeneratedImage, Generation, Status
from nano_banana_mcp.images.data_uri import decode_data_uri
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.images.formats import guess_from_url
from nano_banana_mcp.images.image import EncodedImage

MAX_IMAGES = 16
"""More images than any model of the API makes at once; further ones are dropped."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A generation after an answer of the API.

    Attributes:
        generation: The generation in its new state.
        encoded_images: Images whose bytes came with the answer, by number.
    """

    generation: Generation
    encoded_images: dict[int, EncodedImage]


def read(generation: Generation, snapshot: TaskSnapshot, now: float) -> Reading:
    """Return ``generation`` as the API reports it now.

    A status that is not in the API's list means "still working". A success without an image is a failure that may
    have cost credits; its message says so and quotes the model.

    Args:
        snapshot: The answer to a query.
        now: Unix time in seconds.
    """
    status = _status(snapshot.status)
    if not status.finished:
        return Reading(replace(generation, status=status, credits_consumed=snapshot.consumed, open_at=now), {})
    images, encoded_images, problems = _images(snapshot.image_sources)
    message = snapshot.reason or (clean(" ".join(snapshot.texts)) or None)
    if problems and images:
        message = f"{len(problems)} more could not be used: {sentence(problems[0])} {message or ''}".strip()
    if status is Status.SUCCESS and not images:
        status, message = Status.FAILED, _why_no_image(snapshot, problems)
    elif status is Status.FAILED:
        message = message or "The generation failed; the API gave no reason."
        images, encoded_images = (), {}
    ended = replace(
        generation,
        status=status,
        images=images,
        credits_consumed=snapshot.consumed,
        message=message,
        finished_at=generation.finished_at or now,
    )
    return Reading(ended, encoded_images)


def _status(word: str) -> Status:
    try:
        status = Status(word)
    except ValueError:
        return Status.IN_PROGRESS
    return Status.IN_PROGRESS if status is Status.UNKNOWN else status


def _images(sources: tuple[str, ...]) -> tuple[tuple[GeneratedImage, ...], dict[int, EncodedImage], list[str]]:
    images: list[GeneratedImage] = []
    encoded_images: dict[int, EncodedImage] = {}
    problems: list[str] = []
    for source in sources[:MAX_IMAGES]:
        if source[:5].lower() != "data:":
            images.append(GeneratedImage(source, guess_from_url(source)))
            continue
        try:
            encoded = decode_data_uri(source)
        except ImageError as error:
            problems.append(error.message)
            continue
        encoded_images[len(images)] = encoded
        images.append(GeneratedImage(None, encoded.mime_type))
    return tuple(images), encoded_images, problems


def _why_no_image(snapshot: TaskSnapshot, problems: list[str]) -> str:
    charged = "The API reports success, so this image may have been charged."
    if problems:
        return f"{charged} Its image cannot be read: {sentence(problems[0])}"
    if snapshot.texts:
        return f"{charged} The model answered in words instead of drawing: “{clean(' '.join(snapshot.texts))}”"
    if snapshot.reason:
        return f"{charged} The answer holds no image: {sentence(snapshot.reason)}"
    return f"{charged} The answer holds no image."
