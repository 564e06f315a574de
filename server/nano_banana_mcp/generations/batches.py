"""A batch: the generations of one call that asked for several images. Its state is derived from theirs. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from nano_banana_mcp.common.text import sentence, shorten
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.quotas import usable_amount

MAX_COUNT = 4
"""Generations of one batch."""

MAX_REASON_CHARACTERS = 150

_PREFIX = "ba-"


@dataclass(frozen=True, slots=True)
class Batch:
    """Several generations under one id.

    Attributes:
        generations: In the order of their ids, which is that of their numbers.
    """

    batch_id: str
    generations: tuple[Generation, ...]

    @property
    def public_id(self) -> str:
        """The id for callers."""
        return self.batch_id

    @property
    def status(self) -> Status:
        """In progress until all have ended; then success if one succeeded, else unknown if one is unknown."""
        statuses = {generation.status for generation in self.generations}
        if self.is_open:
            return Status.IN_PROGRESS
        return next((status for status in (Status.SUCCESS, Status.UNKNOWN) if status in statuses), Status.FAILED)

    @property
    def is_open(self) -> bool:
        """Whether the API works on one of them. An unknown outcome, and one that was not sent, count as ended."""
        return any(generation.is_open for generation in self.generations)

    @property
    def finished(self) -> bool:
        """Whether there is nothing to wait for, and the outcome is known."""
        return self.status.finished

    @property
    def model(self) -> str | None:
        """The model of all."""
        return self.generations[0].model

    @property
    def prompt(self) -> str | None:
        """The prompt of all."""
        return self.generations[0].prompt

    @property
    def options(self) -> str | None:
        """The arguments of all, besides prompt and model."""
        return self.generations[0].options

    @property
    def requested_format(self) -> str:
        """The format and size of all; empty if neither was asked for."""
        return self.generations[0].requested_format

    @property
    def created_at(self) -> float:
        """When it was requested, Unix seconds."""
        return min(generation.created_at for generation in self.generations)

    @property
    def credits_consumed(self) -> str | None:
        """Sum of the amounts that the API named; None if it named none."""
        amounts = [usable_amount(generation.credits_consumed) for generation in self.generations]
        named = [amount for amount in amounts if amount is not None]
        return f"{sum(named, Decimal(0)):f}" if named else None

    @property
    def message(self) -> str | None:
        """How many succeeded, and what became of each other one."""
        succeeded = sum(generation.status is Status.SUCCESS for generation in self.generations)
        parts = [f"{succeeded} of {len(self.generations)} succeeded."]
        for number, generation in enumerate(self.generations, 1):
            reason = sentence(shorten(generation.message, MAX_REASON_CHARACTERS)) if generation.message else ""
            if generation.status is Status.FAILED:
                parts.append(f"Number {number} failed: {reason or 'the API gave no reason.'}")
            elif generation.is_unsent:
                parts.append(f"Number {number} was not sent, so it was not charged. {reason}".strip())
            elif generation.task_id is None:
                parts.append(f"Number {number} ({generation.generation_id}) is unknown and may have been charged.")
            elif generation.message:
                parts.append(f"Number {number}: {reason}")
        return " ".join(parts)

    def elapsed_seconds(self, now: float) -> float | None:
        """Seconds from the first submit to the last end, or to ``now``; None if none was accepted."""
        accepted = [generation for generation in self.generations if generation.submitted_at is not None]
        if not accepted:
            return None
        first = min(generation.submitted_at or now for generation in accepted)
        ends = [generation.ended_at or generation.finished_at or now for generation in accepted]
        return max(0.0, (now if self.is_open else max(ends)) - first)


GenerationOrBatch = Generation | Batch
"""What a caller's id stands for."""


def new_batch_id() -> str:
    """Return an unguessable id."""
    return f"{_PREFIX}{uuid.uuid4()}"


def is_batch_id(public_id: str) -> bool:
    """Whether an id is that of a batch."""
    return public_id.startswith(_PREFIX)


def members(item: GenerationOrBatch) -> tuple[Generation, ...]:
    """Return the generations of a batch in the order of their numbers; a generation alone is its only member."""
    return item.generations if isinstance(item, Batch) else (item,)


def located_images(item: GenerationOrBatch) -> list[tuple[Generation, int]]:
    """Return the generation and the number there of each image.

    The earliest end comes first, so that the numbers in a batch stay while further images come.
    """
    ended = sorted(members(item), key=lambda generation: (generation.finished_at or 0.0, generation.generation_id))
    return [(generation, number) for generation in ended for number in range(len(generation.images))]


def as_batch(generations: Iterable[Generation]) -> Batch:
    """Return the batch of these generations, which have its id in common and are at least one."""
    ordered = tuple(sorted(generations, key=lambda generation: generation.generation_id))
    assert ordered[0].batch_id is not None
    return Batch(ordered[0].batch_id, ordered)


def child_request_id(request_id: str, number: int) -> str:
    """Return the ``request_id`` of one generation of a batch.

    Args:
        number: From 1.
    """
    return f"{request_id}#{number}"


def callers_request_id(generation: Generation) -> str | None:
    """Return the ``request_id`` that the caller chose for a generation, or for its batch. It may contain ``#``, too."""
    request_id = generation.request_id
    return request_id if request_id is None or generation.batch_id is None else request_id.rpartition("#")[0]
