"""Generations for tests of the ledger and of its users."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from nano_banana_mcp.generations.batches import GenerationOrBatch
from nano_banana_mcp.generations.models import GeneratedImage, Generation, Status, new_generation_id
from nano_banana_mcp.ledger.sqlite import SqliteLedger

IMAGE_URL = "https://pictures.example/a.png?signature=1"


def new_generation(**values: Any) -> Generation:
    """A generation that was not sent yet."""
    defaults: dict[str, Any] = {"prompt": "a 고양이", "model": "m", "api": "sandbox", "created_at": 100.0}
    return Generation(**{"generation_id": new_generation_id(), **defaults, **values})


def new_batch(count: int, request_id: str | None = None, **values: Any) -> list[Generation]:
    """The generations of a batch that was not sent yet."""
    ids = sorted(new_generation_id() for _ in range(count))
    defaults: dict[str, Any] = {"batch_id": "ba-1", "status": Status.PENDING}
    return [
        new_generation(
            generation_id=generation_id,
            request_id=None if request_id is None else f"{request_id}#{number}",
            **{**defaults, **values},
        )
        for number, generation_id in enumerate(ids, 1)
    ]


def unsent_again(folder: Path, generation: Generation, status: Status = Status.PENDING) -> None:
    """Put a generation of a batch back to what a crash leaves of it in the ledger of this state folder.

    Args:
        status: ``pending`` if it was not sent, ``unknown`` if the crash came in the middle of its submit.
    """
    lost: dict[str, Any] = {"task_id": None, "images": (), "credits_consumed": None}
    lost |= dict.fromkeys(("submitted_at", "open_at", "finished_at", "ended_at"))
    database = SqliteLedger(folder)
    database.delete(generation.generation_id, unfinished=True)
    database._write(replace(generation, status=status, **lost))
    database.close()


def only(item: GenerationOrBatch) -> Generation:
    """The generation of a call that asked for one image."""
    assert isinstance(item, Generation)
    return item


def succeeded(generation: Generation, seconds: float = 30.0, **values: Any) -> Generation:
    """The same after its success, ``seconds`` after the submit: one image with a URL, one without."""
    submitted_at = generation.submitted_at or 100.0
    defaults: dict[str, Any] = {
        "status": Status.SUCCESS,
        "images": (GeneratedImage(IMAGE_URL, "image/png"), GeneratedImage(None, "image/webp")),
        "credits_consumed": "0.500000",
        "submitted_at": submitted_at,
        "open_at": submitted_at + seconds - 1,
        "finished_at": submitted_at + seconds,
    }
    return replace(generation, **{**defaults, **values})
