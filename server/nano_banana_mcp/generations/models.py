"""A generation: one paid request for an image, and its state."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

UNRECORDED_OUTCOME = (
    "The request is recorded, but its outcome is not: it is being submitted, or the server ended meanwhile. The image "
    "may have been charged. It is never submitted again automatically."
)

NOT_SENT = "It was recorded, but not sent, so it was not charged."


class Status(StrEnum):
    """The states of the API, and ``unknown``: it is not known (yet) whether the request reached the API."""

    PENDING = "pending"
    SUBMITTED = "submitted"
    IN_PROGRESS = "in_progress"
    SUCCESS = "success"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def finished(self) -> bool:
        """Whether this state is final."""
        return self in (Status.SUCCESS, Status.FAILED)


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One image of a generation.

    Attributes:
        url: Its address; None if the API sent the bytes themselves (a data URI).
        mime_type: From the bytes if they were read, else from the extension of the URL.
    """

    url: str | None
    mime_type: str


@dataclass(frozen=True, slots=True)
class Generation:
    """The record of one generation. Times are Unix times in seconds.

    Attributes:
        generation_id: Our own unguessable id, recorded before anything is sent.
        task_id: The id of the API; None until the API has accepted the request.
        principal: The authenticated owner; empty without authentication.
        request_id: The caller's name for the request; a repeated call with it is not submitted again. In a batch, the
            caller's name, ``#`` and the number of the generation, from 1.
        request_hash: Hash of all arguments, to recognise a repeated request.
        api: The base URL of the API, or ``sandbox`` for the sandbox inside the server.
        options: The arguments besides prompt and model, as text.
        created_at: When it was requested, or first seen.
        submitted_at: When the API accepted it; None for a task that another program submitted.
        open_at: When a query last found it unfinished.
        finished_at: When its end was first noticed.
        ended_at: When it ended as the API says; None if it does not say.
        expects_callback: Whether the API was given a callback URL of this server.
        credits_consumed: Decimal string as reported by the API.
        message: Why it failed, or what the model said; text from outside is cleaned.
        save_as: Name without extension that the caller chose for the files of its images; None for this server's.
        is_sandbox: Whether a sandbox made it, inside the server or alone: its credits are no money.
        batch_id: What the generations of one call have in common; None for one that was requested alone.
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
    batch_id: str | None = None
    save_as: str | None = None
    ended_at: float | None = None
    is_sandbox: bool = False

    def __post_init__(self) -> None:
        if self.api == "sandbox":
            object.__setattr__(self, "is_sandbox", True)

    @property
    def public_id(self) -> str:
        """The id for callers: the task id, or our own id before it is known."""
        return self.task_id or self.generation_id

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return self.status.finished

    @property
    def is_settled(self) -> bool:
        """Whether nothing can change its state. Where a submit failed, a callback may prove that a task was made."""
        return self.finished and not (self.status is Status.FAILED and self.task_id is None)

    @property
    def is_open(self) -> bool:
        """Whether the API works on it."""
        return self.task_id is not None and not self.finished

    @property
    def is_unsent(self) -> bool:
        """Whether it is recorded as part of a batch and certainly was not sent: it may be sent once."""
        return self.status is Status.PENDING and self.task_id is None

    @property
    def requested_format(self) -> str:
        """The format and size among its options, as in "16:9 4k"; empty if neither was asked for."""
        return " ".join(option for option in (self.options or "").split(", ") if "reference" not in option)

    def elapsed_seconds(self, now: float) -> float | None:
        """Seconds from the submit to the end, or to ``now``; None for a task of another program."""
        if self.submitted_at is None:
            return None
        return max(0.0, (self.ended_at or self.finished_at or now) - self.submitted_at)

    def with_message(self) -> Self:
        """Return the generation with an explanation, if the outcome of its submit was never recorded."""
        if self.task_id or self.message:
            return self
        return replace(self, message=NOT_SENT if self.is_unsent else UNRECORDED_OUTCOME)

    def may_replace(self, stored: Generation) -> bool:
        """Whether it may replace a stored state: an end never changes, and a task id is never lost or replaced."""
        if stored.task_id is None:
            return self.task_id is not None or not stored.finished
        return self.task_id == stored.task_id and not stored.finished

    def accepted(self, task_id: str, now: float) -> Self:
        """Return the generation as accepted by the API under ``task_id`` at ``now`` (Unix time)."""
        return replace(
            self,
            task_id=task_id,
            status=Status.PENDING,
            message=None,
            submitted_at=now,
            open_at=now,
            finished_at=None,
        )


def new_generation_id() -> str:
    """Return an unguessable id. It starts with ``in-``; the ids of the API start with ``ta``."""
    return f"in-{uuid.uuid4()}"
