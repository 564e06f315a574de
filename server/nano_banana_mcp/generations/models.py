"""A generation: one picture (or a few) that was asked for and paid for, and its state."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from nano_banana_mcp.common.text import clean, sentence
from nano_banana_mcp.defapi.schemas import TaskSnapshot
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.images.formats import guess_from_url
from nano_banana_mcp.images.image import EncodedImage, decode_data_uri

MAX_IMAGES = 16
"""More pictures than any model of the API makes at once; what is beyond is not taken over."""


class Status(StrEnum):
    """The API's states, and ``unknown``: nobody can tell (yet)."""

    PENDING = "pending"
    SUBMITTED = "submitted"
    IN_PROGRESS = "in_progress"
    SUCCESS = "success"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def finished(self) -> bool:
        """Whether this state is the last one."""
        return self in (Status.SUCCESS, Status.FAILED)


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One picture of a generation.

    Attributes:
        url: Where it is; None where the API handed over the bytes themselves (a data URI).
        mime_type: By the bytes where they are known, else by the URL's extension.
    """

    url: str | None
    mime_type: str


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation as far as it is known. Times are Unix times in seconds.

    Attributes:
        intent_id: Our own, unguessable name for it, given before anything is sent.
        task_id: The API's name for it; None while the outcome of the submit is unknown.
        principal: Whose it is; empty where nobody is asked who they are.
        request_id: The caller's name for the request, by which a repeated call finds it again.
        request_hash: Of all arguments, to tell a repeated request from another one.
        api: Which API made it: its base URL, or ``sandbox`` for the one inside the server.
        options: What was asked for besides prompt and model, in words.
        created_at: When it was asked for, or first seen.
        submitted_at: When the API took it; None for a task made elsewhere.
        open_at: When it was last seen not to have ended.
        finished_at: When its end was first seen.
        expects_callback: Whether the API was given an address of ours to tell of the end.
        credits_consumed: Decimal string as the API gives it.
        message: Why it failed, or what the model said; text of others, cleaned.
    """

    generation_id: str
    task_id: str | None = None
    status: Status = Status.UNKNOWN
    images: tuple[GeneratedImage, ...] = ()
    model: str | None = None
    prompt: str | None = None
    api: str | None = None
    options: str | None = None
    principal: str = ""
    request_id: str | None = None
    request_hash: str | None = None
    expects_callback: bool = False
    credits_consumed: str | None = None
    message: str | None = None
    created_at: float = 0.0
    submitted_at: float | None = None
    open_at: float | None = None
    finished_at: float | None = None

    @property
    def public_id(self) -> str:
        """What a caller asks for it by: the task id, or our own while there is none."""
        return self.task_id or self.generation_id

    @property
    def finished(self) -> bool:
        """Whether nothing will change any more."""
        return self.status.finished

    def elapsed_seconds(self, now: float) -> float | None:
        """Seconds from the submit to the end, or to ``now``; None for a task made elsewhere."""
        if self.submitted_at is None:
            return None
        return max(0.0, (self.finished_at or now) - self.submitted_at)

    def accepted(self, task_id: str, now: float) -> Self:
        """After the API took it."""
        return replace(self, task_id=task_id, status=Status.PENDING, message=None, submitted_at=now, open_at=now)


def new_generation_id() -> str:
    """An unguessable id, told apart from the API's (which begin with ``ta``) by its first letters."""
    return f"in-{uuid.uuid4()}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a snapshot makes of a generation, and the pictures whose bytes came with it, by number."""

    generation: Generation
    encoded_images: dict[int, EncodedImage]


def read(known: Generation, snapshot: TaskSnapshot, now: float) -> Reading:
    """Bring ``known`` up to date with what the API just said.

    A status word that is not in the API's list means "still working". A success without a picture is a
    failure that cost credits, and says so with the model's words.
    """
    status = _status(snapshot.status)
    if not status.finished:
        return Reading(replace(known, status=status, credits_consumed=snapshot.consumed, open_at=now), {})
    images, encoded_images, spoiled = _images(snapshot.image_sources)
    message = snapshot.reason or (clean(" ".join(snapshot.texts)) or None)
    if spoiled and images:
        message = f"{len(spoiled)} more could not be used: {sentence(spoiled[0])} {message or ''}".strip()
    if status is Status.SUCCESS and not images:
        status, message = Status.FAILED, _why_no_image(snapshot, spoiled)
    elif status is Status.FAILED:
        message = message or "The generation failed; the API gave no reason."
        images, encoded_images = (), {}
    generation = replace(
        known,
        status=status,
        images=images,
        credits_consumed=snapshot.consumed,
        message=message,
        finished_at=known.finished_at or now,
    )
    return Reading(generation, encoded_images)


def _status(word: str) -> Status:
    try:
        status = Status(word)
    except ValueError:
        return Status.IN_PROGRESS
    return Status.IN_PROGRESS if status is Status.UNKNOWN else status


def _images(sources: tuple[str, ...]) -> tuple[tuple[GeneratedImage, ...], dict[int, EncodedImage], list[str]]:
    images: list[GeneratedImage] = []
    encoded_images: dict[int, EncodedImage] = {}
    spoiled: list[str] = []
    for source in sources[:MAX_IMAGES]:
        if source[:5].lower() != "data:":
            images.append(GeneratedImage(source, guess_from_url(source)))
            continue
        try:
            encoded = decode_data_uri(source)
        except ImageError as error:
            spoiled.append(error.message)
            continue
        encoded_images[len(images)] = encoded
        images.append(GeneratedImage(None, encoded.mime_type))
    return tuple(images), encoded_images, spoiled


def _why_no_image(snapshot: TaskSnapshot, spoiled: list[str]) -> str:
    charged = "The API counts it as done, so it may have been charged."
    if spoiled:
        return f"{charged} Its picture cannot be used: {sentence(spoiled[0])}"
    if snapshot.texts:
        return f"{charged} The model answered in words instead of drawing: “{clean(' '.join(snapshot.texts))}”"
    if snapshot.reason:
        return f"{charged} It reported success without a picture: {sentence(snapshot.reason)}"
    return f"{charged} It reported success without a picture."
