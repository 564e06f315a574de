"""Images made small enough for one answer, so that a model can see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import anyio

from nano_banana_mcp.generations.batches import GenerationOrBatch
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.images.resizing.resize import ShrunkImage
from nano_banana_mcp.images.resizing.worker import shrink_in_worker
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.media.image_store import ImageStore, NoSuchImage

MAX_PREVIEW_BYTES = 500_000
"""Bytes of one image in an answer."""

MAX_ANSWER_BYTES = 700_000
"""Bytes of all images of one answer: hosts accept 1 MB at most, and base64 makes 4 bytes of 3."""

MIN_PREVIEW_BYTES = 80_000
"""Bytes below which an image shows too little."""

MAX_PREVIEW_SECONDS = 45.0
"""Time for all images of one answer: many hosts cancel a call after 60 s."""

MAX_CONCURRENT_PREVIEWS = 4


@dataclass(frozen=True, slots=True)
class View:
    """One image of an answer.

    Attributes:
        number: Number of the image in its generation, from 0.
        shown: The image; None if it cannot be shown.
        trouble: Why it cannot be shown.
    """

    number: int
    shown: ShrunkImage | None
    trouble: str | None = None


async def preview(
    store: ImageStore, item: GenerationOrBatch, number: int, *, max_side: int, max_bytes: int
) -> ShrunkImage:
    """Return an image within ``max_side`` pixels and ``max_bytes``.

    Raises:
        NoSuchImage: The generation or batch has no such image, or its bytes are gone.
        ImageError: The bytes cannot be downloaded, or cannot be shrunk.
    """
    return await shrink_in_worker(await store.open(item, number), max_side=max_side, max_bytes=max_bytes)


async def view(
    store: ImageStore,
    item: GenerationOrBatch,
    numbers: Sequence[int],
    *,
    max_side: int,
    max_seconds: float = MAX_PREVIEW_SECONDS,
) -> list[View]:
    """Return previews of several images. One that cannot be shown says why and does not hinder the others.

    Args:
        numbers: Numbers of the images in their generation or batch, from 0.
        max_side: Longest side in pixels.
        max_seconds: Time for all of them.
    """
    fitting = numbers[: MAX_ANSWER_BYTES // MIN_PREVIEW_BYTES]
    max_bytes = min(MAX_PREVIEW_BYTES, MAX_ANSWER_BYTES // max(1, len(fitting)))
    views = {number: View(number, None, "the limit of 700 kB for one answer is reached") for number in numbers}
    views |= {number: View(number, None, f"it did not arrive within {max_seconds:g} s") for number in fitting}
    limiter = anyio.CapacityLimiter(MAX_CONCURRENT_PREVIEWS)

    async def add_view(number: int) -> None:
        async with limiter:
            try:
                image = await preview(store, item, number, max_side=max_side, max_bytes=max_bytes)
            except NoSuchImage:
                views[number] = View(number, None, "this server does not have it")
            except (ImageError, LedgerError) as error:
                views[number] = View(number, None, str(error))
            else:
                views[number] = View(number, image)

    with anyio.move_on_after(max_seconds):
        async with anyio.create_task_group() as tasks:
            for number in fitting:
                tasks.start_soon(add_view, number)
    return [views[number] for number in numbers]
