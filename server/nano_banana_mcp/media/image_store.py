"""The bytes of pictures: fetched from where they are, or from the ledger where they came as bytes; and several of them
small enough for one answer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from nano_banana_mcp.common.urls import http_url
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger.base import Ledger

if TYPE_CHECKING:
    from nano_banana_mcp.images.cache import CachedDownloads
    from nano_banana_mcp.images.resizing.resize import Shrunk

MAX_DECODED_AT_ONCE = 2
"""Each may take some 400 MB, for the worst picture that is decoded at all; 110 MB for one of 4096 x 4096."""


MAX_TYPES = 5_000
"""Of pictures whose bytes were seen."""


class NoSuchImage(LookupError):
    """This server handed out no such picture."""


class ImageStore:
    """Opens the pictures that the ledger knows of, and no others.

    Args:
        trusted_origins: Where pictures may be fetched from besides public hosts: the sandbox's own origin.
        opened_at: When this server began (Unix time, seconds).
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Path | None,
        *,
        max_bytes: int | None,
        keep_days: float | None,
        trusted_origins: Sequence[str],
        tasks: TaskGroup,
        now: Callable[[], float],
        opened_at: float,
    ) -> None:
        self._ledger = ledger
        self._bytes: dict[tuple[str, int], EncodedImage] = {}
        self._opened_at = opened_at
        self._trusted_origins = trusted_origins
        self._cache: tuple[Path | None, int] = (folder, 512_000_000)
        self._opened_library: CachedDownloads | None = None
        self._types: OrderedDict[str, str] = OrderedDict()
        self._decoders = anyio.CapacityLimiter(MAX_DECODED_AT_ONCE)

    async def put(self, generation_id: str, number: int, image: EncodedImage) -> None:
        """Stand-in until the image store is there: kept in memory."""
        self._bytes[generation_id, number] = image

    def on_change(self, generation: Generation) -> None:
        """Stand-in."""

    async def tidy(self) -> None:
        """Stand-in."""

    async def settled(self) -> None:
        """Stand-in."""

    def drain(self) -> None:
        """Stand-in."""

    def still_serves(self, known: Generation) -> bool:
        """Whether the URLs of its pictures can lead anywhere: those of a sandbox inside a server ended with it."""
        return known.api != "sandbox" or known.created_at >= self._opened_at

    async def aclose(self) -> None:
        """Close what was opened for fetching."""
        if self._opened_library is not None:
            await self._opened_library.aclose()

    async def open(self, known: Generation, number: int) -> EncodedImage:
        """The bytes of a picture, by its generation and its number in it.

        Raises:
            NoSuchImage: it has no picture of that number.
            ImageError: the bytes cannot be had.
        """
        if not 0 <= number < len(known.images):
            raise NoSuchImage
        url = known.images[number].url
        if url is not None:
            return await self._fetch(url)
        kept = self._bytes.get((known.generation_id, number)) or await self._ledger.encoded(
            known.generation_id, number
        )
        if kept is None:
            raise NoSuchImage
        return kept

    async def view(self, known: Generation, number: int, *, max_side: int, max_bytes: int) -> Shrunk:
        """A picture, small enough to be looked at (see :func:`~nano_banana_mcp.images.resizing.resize.shrink`).

        Raises:
            NoSuchImage: it has no picture of that number.
            ImageError: the bytes cannot be had, or not be shrunk.
        """
        from nano_banana_mcp.images.resizing.worker import shrink_aside

        encoded = await self.open(known, number)
        async with self._decoders:
            return await shrink_aside(encoded, max_side=max_side, max_bytes=max_bytes)

    async def by_url(self, url: str, principal: str = "") -> EncodedImage:
        """The bytes of a picture, by the URL that this server handed out to this caller for it.

        Raises:
            NoSuchImage: this server did not hand out that URL to them.
            ImageError: the bytes cannot be had.
        """
        address = http_url(url)  # clients differ in how they spell a URL that they were handed
        if address is None or await self._ledger.find_image(address, principal) is None:
            raise NoSuchImage
        return await self._fetch(address)

    def learn_type(self, url: str, mime_type: str) -> None:
        """The bytes at a URL proved to be of this type."""
        self._types[url] = mime_type
        if len(self._types) > MAX_TYPES:
            self._types.popitem(last=False)

    def typed(self, known: Generation) -> Generation:
        """``known`` with the types that its pictures proved to be of, where their bytes were seen: URLs lie."""
        types = [image.mime_type if image.url is None else self._types.get(image.url) for image in known.images]
        images = tuple(
            replace(image, mime_type=mime_type or image.mime_type)
            for image, mime_type in zip(known.images, types, strict=True)
        )
        return known if images == known.images else replace(known, images=images)

    async def forget(self, known: Generation) -> None:
        """Keep no copies of a generation's fetched pictures any more."""
        for image in known.images:
            if image.url is not None:
                await self._library.forget(image.url)

    async def _fetch(self, url: str) -> EncodedImage:
        encoded = await self._library.get(url)
        self.learn_type(url, encoded.mime_type)
        return encoded

    @property
    def _library(self) -> CachedDownloads:
        if self._opened_library is None:
            from nano_banana_mcp.images.cache import CachedDownloads

            self._opened_library = CachedDownloads(self._trusted_origins, *self._cache)
        return self._opened_library


MAX_BYTES = 500_000
"""Of one picture in an answer."""

BUDGET_BYTES = 700_000
"""Of all pictures of one answer: hosts take 1 MB at most, and base64 makes 4 bytes of 3."""

MIN_SHARE_BYTES = 80_000
"""With less there is not much to be seen."""

MAX_SECONDS = 45.0
"""For all pictures of one answer: many hosts cut a call at 60 s."""

MAX_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class View:
    """One picture that was to be looked at.

    Attributes:
        number: Of the picture, from 0.
        shown: The picture; None where there is none to look at.
        trouble: Why there is none, in words.
    """

    number: int
    shown: Shrunk | None
    trouble: str | None = None


async def view(album: ImageStore, known: Generation, numbers: Sequence[int], *, max_side: int) -> list[View]:
    """Look at pictures of a generation. One that cannot be shown says why, and keeps no other from being shown."""
    fitting = numbers[: BUDGET_BYTES // MIN_SHARE_BYTES]
    share = min(MAX_BYTES, BUDGET_BYTES // max(1, len(fitting)))
    views = {number: View(number, None, "the budget of 700 kB for one answer is used up") for number in numbers}
    views |= {number: View(number, None, f"it was not there within {MAX_SECONDS:g} s") for number in fitting}
    limiter = anyio.CapacityLimiter(MAX_AT_ONCE)

    async def one(number: int) -> None:
        async with limiter:
            try:
                shown = await album.view(known, number, max_side=max_side, max_bytes=share)
            except NoSuchImage:
                views[number] = View(number, None, "this server does not have it")
            except ImageError as error:
                views[number] = View(number, None, str(error))
            else:
                views[number] = View(number, shown)

    with anyio.move_on_after(MAX_SECONDS):
        async with anyio.create_task_group() as tasks:
            for number in fitting:
                tasks.start_soon(one, number)
    return [views[number] for number in numbers]
