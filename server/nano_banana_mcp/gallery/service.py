"""What the gallery shows: rows of the ledger, and their pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.resizing.worker import shrink_aside
from nano_banana_mcp.images.saving.output_folder import OutputFolder
from nano_banana_mcp.ledger.queries import Filters, SqlLedger
from nano_banana_mcp.media.image_store import MAX_DECODED_AT_ONCE, ImageStore

PAGE = 48
"""So many rows are shown at a time: whole lines of two, three, four or six."""

THUMBNAIL_SIDE, THUMBNAIL_BYTES = 512, 80_000

T = TypeVar("T")


class GalleryService:
    """The generations of everybody who uses this ledger: who opens the gallery can read its file.

    Args:
        ledger: Used by one thread at a time, by nobody else.
        saved: Where finished pictures are saved, if they are.
    """

    def __init__(self, ledger: SqlLedger, album: ImageStore, saved: OutputFolder | None) -> None:
        self._ledger = ledger
        self._album = album
        self._saved = saved
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._decoders = anyio.CapacityLimiter(MAX_DECODED_AT_ONCE)

    async def page(self, offset: int, filters: Filters) -> dict[str, Any]:
        """One page of what fits the filters, newest first, and the sums of all that fits.

        Raises:
            LedgerError: it cannot be read.
        """
        found, tally, models = await self._ask(
            lambda ledger: (
                ledger.history(limit=PAGE, offset=offset, **filters),
                ledger.tally(**filters),
                ledger.models(),
            )
        )
        return {
            "generations": [row(known) for known in found],
            "number": tally.number,
            "credits": f"{tally.credits:f}",
            "models": models,
        }

    async def find(self, generation_id: str) -> Generation | None:
        """One of them.

        Raises:
            LedgerError: it cannot be read.
        """
        return await self._ask(lambda ledger: ledger.find(generation_id))

    async def whole(self, known: Generation, number: int) -> EncodedImage:
        """A picture as it is: from the folder of saved ones, or from where it came.

        Raises:
            NoSuchImage: it has none of that number.
            ImageError: the bytes cannot be had.
            OSError: the folder of saved pictures cannot be read.
        """
        if self._saved is not None:
            saved = await anyio.to_thread.run_sync(self._saved.read, known.public_id, number)
            if saved is not None:
                return saved
        return await self._album.open(known, number)

    async def thumbnail(self, known: Generation, number: int) -> EncodedImage:
        """A picture, small. Raises as :meth:`whole` does."""
        encoded = await self.whole(known, number)
        async with self._decoders:
            return await shrink_aside(encoded, max_side=THUMBNAIL_SIDE, max_bytes=THUMBNAIL_BYTES)

    async def delete(self, generation_id: str, *, unfinished: bool) -> bool:
        """Drop a generation from the ledger, and the copies of its pictures that the ledger and the cache keep. Saved
        files stay. Returns whether it went; see :meth:`~nano_banana_mcp.ledger.queries.SqlLedger.delete`.

        Raises:
            LedgerError: it cannot be written.
        """
        gone = await self._ask(partial(SqlLedger.delete, generation_id=generation_id, unfinished=unfinished))
        if gone is not None:
            await self._album.delete(gone)
        return gone is not None

    async def _ask(self, work: Callable[[SqlLedger], T]) -> T:
        with anyio.CancelScope(shield=True):  # a write goes to its end
            answer = await anyio.to_thread.run_sync(work, self._ledger, limiter=self._one_at_a_time)
        return answer  # noqa: RET504 - a scope may end what it holds, to a type checker


def row(known: Generation) -> dict[str, Any]:
    """A generation for the page; times in Unix seconds."""
    return {
        "id": known.generation_id,
        "task_id": known.task_id,
        "status": known.status.value,
        "finished": known.finished,
        "pictures": len(known.images) if known.status is Status.SUCCESS else 0,
        "prompt": known.prompt,
        "options": known.options,
        "model": known.model,
        "credits": known.credits_consumed,
        "sandbox": known.api == "sandbox",
        "message": known.message,
        "principal": known.principal,
        "created_at": known.created_at,
        "seconds": known.elapsed_seconds(known.finished_at) if known.finished_at is not None else None,
    }
