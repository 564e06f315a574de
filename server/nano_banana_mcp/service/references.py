"""What a studio does with this machine's disk: finished pictures go to a folder, reference pictures come from some.

Most servers do neither, so the parts are opened, and imported, with their first use.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from nano_banana_mcp.common.urls import IMAGE_URI
from nano_banana_mcp.defapi.errors import TaskNotFound
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.images.errors import ImageError, ImageUnavailable
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.media.image_store import ImageStore, NoSuchImage

if TYPE_CHECKING:
    from nano_banana_mcp.media.export import Exporter, Kept

KEEPING_SECONDS = 10.0
"""How long a call that hands back a finished picture waits for it to be saved."""

MIN_KEEPING_SECONDS = 2.0
"""So long it waits even where its own time is over."""


@dataclass(frozen=True, slots=True)
class LocalFolders:
    """Folders. By default there are none.

    Attributes:
        output: Where finished pictures are saved; None: nowhere.
        output_shown: Whether callers may be told where that is.
        inputs: Where reference pictures may be read from. None where callers are not on this machine: then a path
            is refused before any disk is touched.
        reference_side: Longest side of a reference picture that is sent from here, in pixels; a longer one is shrunk.
    """

    output: Path | None = None
    output_shown: bool = False
    inputs: tuple[Path, ...] | None = None
    reference_side: int = 2048
    images: Path | None = None
    max_image_bytes: int | None = None
    keep_days: float | None = None


class Desk:
    """Keeps pictures, and gets references ready.

    Args:
        look: Finds a task of a caller.
        tasks: Where pictures are saved, apart from those who wait for it.
        now: Wall-clock time, Unix seconds.
    """

    def __init__(
        self, album: ImageStore, places: LocalFolders, look: Look, tasks: TaskGroup, now: Callable[[], float]
    ) -> None:
        self._album = album
        self._places = places
        self._look = look
        self._references: ReferenceResolver | None = None
        self._keeper: Exporter | None = None
        if places.output is not None:
            from nano_banana_mcp.images.saving.output_folder import OutputFolder
            from nano_banana_mcp.media.export import Exporter

            self._keeper = Exporter(album, OutputFolder(places.output), tasks, now, shown=places.output_shown)

    def keep(self, generation: Generation) -> None:
        """Begin to save its pictures, if they are to be saved."""
        self._album.on_change(generation)
        if self._keeper is not None:
            self._keeper.on_change(generation)

    async def kept(self, generation: Generation, seconds: float | None = None) -> Kept | None:
        """Where its pictures were saved. Sees to it if nobody has yet, and waits for it, but not for long.

        Args:
            seconds: What is left of the caller's own time.
        """
        if self._keeper is None:
            return None
        longest = KEEPING_SECONDS
        return await self._keeper.result(
            generation, longest if seconds is None else min(longest, max(MIN_KEEPING_SECONDS, seconds))
        )

    async def ready(self, request: SubmitRequest, principal: str) -> SubmitRequest:
        """``request`` with references that the API can read.

        Raises:
            ImageError: one of them cannot be used.
            DefapiError: the task that one was made by cannot be asked for.
        """
        if not request.images:
            return request
        if self._references is None:
            self._references = ReferenceResolver(self._look, self._album, self._keeper, self._places)
        return await self._references.ready(request, principal)

    async def settled(self) -> None:
        """Return when nothing is being saved any more."""
        await self._album.settled()
        if self._keeper is not None:
            await self._keeper.settled()

    def drain(self) -> None:
        """Let nobody wait for the saving any more: the server is about to end."""
        self._album.drain()
        if self._keeper is not None:
            self._keeper.drain()


GONE = {404, 410}

Look = Callable[[str, str], Awaitable[Generation]]
"""The state of a task of a caller, by its id and whose call it is."""


class ReferenceRefused(ImageError):
    """A reference that cannot be used, and not because of its bytes."""

    hint = "Pass an http(s) URL, an image data URI, or the resource_uri of a picture of yours."


class ReferenceResolver:
    """Turns what callers name into URLs and data URIs."""

    def __init__(self, look: Look, album: ImageStore, keeper: Exporter | None, places: LocalFolders) -> None:
        self._look = look
        self._album = album
        self._keeper = keeper
        self._places = places
        self._drawing = anyio.CapacityLimiter(2)  # a decoded picture may take hundreds of megabytes

    async def ready(self, request: SubmitRequest, principal: str) -> SubmitRequest:
        """As :meth:`Desk.ready`."""
        given = request.images or []
        images = [await self._ready(reference, principal) for reference in given]
        return request if images == given else request.model_copy(update={"images": images})

    async def _ready(self, reference: str, principal: str) -> str:
        if match := IMAGE_URI.fullmatch(reference):
            return await self._made_before(match[1], int(match[2]), principal)
        if reference[:5].lower() in ("data:", "http:", "https"):
            return reference
        if self._places.inputs is None:
            raise ReferenceRefused("This server takes no files by their path: only one that runs over stdio does.")
        from nano_banana_mcp.images.local.local_files import LocalFiles

        files = LocalFiles(self._places.inputs)
        return await self._as_text(
            await anyio.to_thread.run_sync(files.read, reference, abandon_on_cancel=True)  # a disk may hang
        )

    async def _made_before(self, task_id: str, number: int, principal: str) -> str:
        try:
            known = await self._look(task_id, principal)
        except TaskNotFound:
            raise ReferenceRefused("This server knows no such picture of yours.") from None
        if not known.finished:
            raise ReferenceRefused(
                "The picture that this resource URI names is not finished.", hint="Call wait_for_image for it first."
            )
        if number >= len(known.images):
            raise ReferenceRefused("This server knows no such picture of yours.")
        kept = await self._kept(known, number)
        if kept is not None:
            return await self._as_text(kept)
        # The URL alone would do while it lives. But nobody tells how long that is, and the API takes the money first.
        url = known.images[number].url
        try:
            encoded = await self._album.open(known, number)
        except NoSuchImage:
            raise ReferenceRefused("The bytes of that picture are gone.") from None
        except ImageUnavailable as error:
            if url is None or error.status in GONE or not self._album.still_serves(known):
                raise
            return url  # its host refuses this server; it may not refuse the API
        return await self._as_text(encoded)

    async def _kept(self, known: Generation, number: int) -> EncodedImage | None:
        if self._keeper is None:
            return None
        try:
            return await anyio.to_thread.run_sync(self._keeper.folder.read, known.public_id, number)
        except OSError:
            return None  # where it came from may still have it

    async def _as_text(self, encoded: EncodedImage) -> str:
        from nano_banana_mcp.images.resizing.reference import comfortable, data_uri

        async with self._drawing:
            small = await comfortable(encoded, max_side=self._places.reference_side)
        return await anyio.to_thread.run_sync(data_uri, small)
