"""The one place for the bytes of generated images: filled when an end is known, read first by every reader."""

from __future__ import annotations

import logging
import shutil
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from nano_banana_mcp.common.files import reason_of
from nano_banana_mcp.common.supervise import supervise
from nano_banana_mcp.common.urls import http_url
from nano_banana_mcp.generations.batches import GenerationOrBatch, located_images
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.uploads import Upload
from nano_banana_mcp.images.download.fetcher import ImageFetcher
from nano_banana_mcp.images.errors import ImageError, ImageUnavailable
from nano_banana_mcp.images.formats import Size, dimensions
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger.base import Ledger, LedgerError
from nano_banana_mcp.media.image_folder import ImageFolder, StoredImage
from nano_banana_mcp.media.legacy_images import LegacyImage, LegacyImages
from nano_banana_mcp.media.shared_calls import SharedCalls

logger = logging.getLogger(__name__)

RETRY_SECONDS = (2.0, 10.0, 60.0, 300.0)
"""Pause before each further attempt to download a new image from a host that does not return it."""

MAX_DOWNLOADS = 4
"""Background downloads at the same time: each image takes up to 20 MB of memory."""

MIN_FREE_BYTES = 1_000_000_000
"""Free disk space below which copies of images that have a URL are not stored."""

MAX_MEMORY_BYTES = 256 * 1024 * 1024
"""Images kept in memory where there is no state folder."""

MAX_MIME_TYPES = 5_000
"""Images with a remembered MIME type and size, by their bytes."""

TIDY_INTERVAL_SECONDS = 600.0
"""Shortest time between two prunings that a new image causes."""

LEGACY_UNUSED_SECONDS = 86_400.0
"""Time after which an earlier version no longer seems to use a cached download."""

ANSWER_NUMBER = -1
"""Stands for the number of an image where an answer of the API is stored that cannot be read."""

_GONE = {404, 410}


class NoSuchImage(LookupError):
    """This server has no such image, or not for this caller."""


def stored_size(folder: Path) -> tuple[int, int]:
    """Return the number of stored images and their bytes.

    Args:
        folder: ``images`` in the state folder. It need not exist.
    """
    images, size_bytes = ImageFolder(folder).size()
    legacy = [picture.size_bytes for picture in LegacyImages(folder.parent).pictures()]
    return images + len(legacy), size_bytes + sum(legacy)


def delete_stored(folder: Path, generation: Generation) -> None:
    """Delete the stored bytes of a generation from the folder of an image store.

    Raises:
        OSError: They cannot be deleted.
    """
    ImageFolder(folder).delete(generation.generation_id)
    urls = [image.url for image in generation.images if image.url is not None]
    LegacyImages(folder.parent).delete(generation.generation_id, urls)


class ImageStore:
    """Stores and opens the images of the ledger's generations.

    Args:
        ledger: Stores the bytes that exist nowhere else, if it can (``ledger.stores_images``).
        folder: ``images`` in the state folder; None without one: images without a URL are then in memory.
        max_bytes: Limit of the folder. None: no limit.
        keep_days: Age in days at which bytes are deleted. None: never.
        trusted_origins: Origins to download from besides public hosts: the sandbox's own.
        trust_resolver: Whether names that resolve to 198.18.0.0/15 are public hosts.
        tasks: Runs the downloads of new images.
        now: Wall-clock time, Unix seconds.
        opened_at: When this server started (Unix time, seconds).
        retry_seconds: Pause before each further attempt to download a new image.
        free_bytes: Returns the free disk space at a path.

    Attributes:
        problem: Why copies of images are not stored right now; None if they are.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Path | None,
        *,
        max_bytes: int | None = None,
        keep_days: float | None = None,
        trusted_origins: Sequence[str] = (),
        trust_resolver: bool = False,
        tasks: TaskGroup,
        now: Callable[[], float],
        opened_at: float,
        retry_seconds: Sequence[float] = RETRY_SECONDS,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self.problem: str | None = None
        self._ledger = ledger
        self._folder = None if folder is None else ImageFolder(folder)
        self._legacy = None if folder is None else LegacyImages(folder.parent)
        self._max_bytes = max_bytes
        self._keep_days = keep_days
        self._fetcher = ImageFetcher(trusted_origins=trusted_origins, trust_resolver=trust_resolver)
        self._tasks = tasks
        self._now = now
        self._opened_at = opened_at
        self._retry_seconds = retry_seconds
        self._free_bytes = free_bytes
        self._in_memory: OrderedDict[tuple[str, int], EncodedImage] = OrderedDict()
        self._mime_types: OrderedDict[tuple[str, int], str] = OrderedDict()
        self._sizes: OrderedDict[tuple[str, int], Size | None] = OrderedDict()
        self._opening: SharedCalls[EncodedImage] = SharedCalls()
        self._downloads = anyio.CapacityLimiter(MAX_DOWNLOADS)
        self._storing: dict[tuple[str, int], anyio.Event] = {}
        self._draining = anyio.Event()
        self._tidied_at = opened_at

    async def put(self, generation_id: str, number: int, image: EncodedImage) -> None:
        """Store bytes that came with the API's answer, durably. Call it before the end is recorded.

        Args:
            number: Number of the image in its generation, from 0.

        Raises:
            LedgerError: The database cannot store it.
            OSError: The disk cannot store it.
        """
        self._learn(generation_id, number, image)
        if self._ledger.stores_images:
            await self._ledger.save_image(generation_id, number, image)
        await self._store(generation_id, number, image)

    async def keep_answer(self, generation_id: str, answer: bytes) -> None:
        """Keep an answer of the API with an image that cannot be read, durably.

        Raises:
            LedgerError: The database cannot store it.
            OSError: The disk cannot store it.
        """
        await self.put(generation_id, ANSWER_NUMBER, EncodedImage(answer, "application/json"))

    async def kept_answer(self, generation_id: str) -> bytes | None:
        """Return what :meth:`keep_answer` kept; None if there is nothing.

        Raises:
            LedgerError: The database cannot be used.
        """
        stored = await self._find(generation_id, ANSWER_NUMBER)
        if stored is None and self._ledger.stores_images:
            stored = await self._ledger.load_image(generation_id, ANSWER_NUMBER)
        return None if stored is None else stored.data

    async def put_upload(self, upload: Upload, image: EncodedImage) -> None:
        """Store the bytes of an upload, durably; where the ledger stores them, only a copy.

        Raises:
            OSError: The disk cannot store it.
        """
        await self._store(upload.reference_id, 0, image)

    async def open_upload(self, upload: Upload) -> EncodedImage:
        """Return the bytes of an upload.

        Raises:
            NoSuchImage: They are gone.
            LedgerError: The database that stores the bytes cannot be used.
        """
        key = (upload.reference_id, 0)
        image = await self._find(*key)
        if image is None and (data := await self._ledger.load_upload(upload.reference_id)) is not None:
            image = EncodedImage(data, upload.mime_type)
            await self._store_copy(*key, image)
        if image is None:
            raise NoSuchImage
        return image

    async def delete_upload(self, upload: Upload) -> None:
        """Delete the stored bytes of an upload.

        Raises:
            OSError: They cannot be deleted.
        """
        self._in_memory.pop((upload.reference_id, 0), None)
        if self._folder is not None:
            await to_thread.run_sync(self._folder.delete, upload.reference_id)

    async def path_of(self, generation: Generation, number: int) -> Path | None:
        """Return the file with the bytes of an image; None if they are not in the folder."""
        if self._folder is None:
            return None
        return await to_thread.run_sync(self._folder.path_of, generation.generation_id, number)

    def on_end(self, generation: Generation) -> None:
        """Start to store the images of a finished generation in the background. Subscriber of the change bus."""
        if self._folder is None or not self.urls_can_work(generation):
            return
        for number, image in enumerate(generation.images):
            key = (generation.generation_id, number)
            if image.url is None or key in self._storing:
                continue
            attempted = self._storing[key] = anyio.Event()
            self._tasks.start_soon(
                supervise, "storing an image", partial(self._store_in_background, generation, number, attempted)
            )

    async def store_missing(self, generations: Sequence[Generation]) -> None:
        """Start to store the images that an earlier process did not store before it ended.

        Where the folder has a size limit, images that may have been deleted for it are not stored again.

        Args:
            generations: Successes whose images should be stored.
        """
        if self._folder is None:
            return
        for generation in await to_thread.run_sync(self._with_missing_images, generations):
            self.on_end(generation)

    async def open(self, item: GenerationOrBatch, number: int) -> EncodedImage:
        """Return the bytes of an image: stored ones, else those at its URL, which are then stored.

        Args:
            number: Number of the image in its generation or batch, from 0.

        Raises:
            NoSuchImage: The generation or batch has no such image, or its bytes are gone.
            ImageError: The bytes cannot be downloaded.
            LedgerError: The database that stores the bytes cannot be used.
        """
        images = located_images(item)
        if not 0 <= number < len(images):
            raise NoSuchImage
        generation, number = images[number]
        key = (generation.generation_id, number)
        image = await self._opening.run(
            key, partial(self._open, generation, number), errors=(ImageError, NoSuchImage, LedgerError)
        )
        self._learn(*key, image)
        return image

    async def by_url(self, url: str, principal: str = "") -> EncodedImage:
        """Return the bytes of an image by the URL that this server returned to this caller.

        Raises:
            NoSuchImage: This server did not return that URL to this caller.
            ImageError: The bytes cannot be downloaded.
            LedgerError: The database that stores the bytes cannot be used.
        """
        address = http_url(url)  # clients differ in how they spell a URL
        generation = None if address is None else await self._ledger.find_image(address, principal)
        for number, image in enumerate(generation.images if generation is not None else ()):
            if image.url == address:
                assert generation is not None
                return await self.open(generation, number)
        raise NoSuchImage

    def urls_can_work(self, generation: Generation) -> bool:
        """Return whether the URLs of its images can work: those of a sandbox inside a server ended with it."""
        return generation.api != "sandbox" or generation.created_at >= self._opened_at

    def remember_type(self, generation_id: str, number: int, mime_type: str) -> None:
        """Remember the MIME type of an image, by its bytes."""
        self._mime_types[generation_id, number] = mime_type
        if len(self._mime_types) > MAX_MIME_TYPES:
            self._mime_types.popitem(last=False)

    async def sizes(self, generation: Generation, seconds: float) -> tuple[Size | None, ...]:
        """Return the width and height of each image; None where its bytes are not here or do not say.

        Args:
            seconds: Longest wait for images that are being stored.
        """
        numbers = range(len(generation.images))
        with anyio.move_on_after(seconds):
            for number in numbers:
                if attempted := self._storing.get((generation.generation_id, number)):
                    await attempted.wait()
        for number in numbers:
            key = (generation.generation_id, number)
            if key not in self._sizes and self._folder is not None:
                stored = await to_thread.run_sync(self._folder.find, *key)
                if stored is not None:
                    self._learn(*key, stored)
        return tuple(self._sizes.get((generation.generation_id, number)) for number in numbers)

    def _learn(self, generation_id: str, number: int, image: EncodedImage) -> None:
        self.remember_type(generation_id, number, image.mime_type)
        self._sizes[generation_id, number] = dimensions(image.data)
        if len(self._sizes) > MAX_MIME_TYPES:
            self._sizes.popitem(last=False)

    def with_mime_types(self, generation: Generation) -> Generation:
        """Return the generation with the MIME types of the bytes, where they were read: URLs can be wrong."""
        images = tuple(
            image
            if image.url is None
            else replace(image, mime_type=self._mime_types.get((generation.generation_id, number)) or image.mime_type)
            for number, image in enumerate(generation.images)
        )
        return generation if images == generation.images else replace(generation, images=images)

    async def delete(self, generation: Generation) -> None:
        """Delete the stored bytes of a generation.

        Raises:
            OSError: They cannot be deleted.
        """
        for number in range(ANSWER_NUMBER, len(generation.images)):
            self._in_memory.pop((generation.generation_id, number), None)
        if self._folder is not None:
            await to_thread.run_sync(delete_stored, self._folder.path, generation)

    async def tidy(self) -> None:
        """Delete bytes beyond the size and age limits, and what killed processes left. Rows of the ledger stay."""
        self._tidied_at = self._now()
        if self._folder is not None:
            await to_thread.run_sync(self._tidy)

    def size(self) -> tuple[int, int]:
        """Return the number of stored images and their bytes. Reads the folder: call it in a thread."""
        if self._folder is None:
            return len(self._in_memory), sum(len(image.data) for image in self._in_memory.values())
        return stored_size(self._folder.path)

    async def wait_until_settled(self) -> None:
        """Return when each new image is stored, or its first download has failed."""
        for attempted in list(self._storing.values()):
            await attempted.wait()

    def drain(self) -> None:
        """Stop retrying downloads: the server is about to end."""
        self._draining.set()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._fetcher.aclose()

    async def _open(self, generation: Generation, number: int) -> EncodedImage:
        key = (generation.generation_id, number)
        url = generation.images[number].url
        stored = await self._find(*key)
        if stored is not None:
            return stored
        image = None
        if self._legacy is not None:
            image = await to_thread.run_sync(self._legacy.find, *key, url)
            if image is not None and url is None:
                return image  # it stays where the earlier version finds it, too
        if image is None and url is None and self._ledger.stores_images:
            image = await self._ledger.load_image(*key)
        if image is None and url is not None:
            try:
                image = await self._download(generation, url)
            except ImageError:
                altered = await self._find(*key, is_last_resort=True)
                if altered is None:
                    raise
                return altered
        if image is None:
            raise NoSuchImage
        await self._store_copy(*key, image)
        return image

    async def _download(self, generation: Generation, url: str) -> EncodedImage:
        if not self.urls_can_work(generation):
            raise ImageUnavailable("The image came from a sandbox that has ended, and was not stored.", hint="")
        return await self._fetcher.fetch(url)

    async def _store_in_background(self, generation: Generation, number: int, attempted: anyio.Event) -> None:
        key = (generation.generation_id, number)
        try:
            assert self._folder is not None
            if await to_thread.run_sync(self._folder.has, *key) or not await to_thread.run_sync(self._has_room):
                return
            for pause in (*self._retry_seconds, None):
                try:
                    async with self._downloads:
                        await self.open(generation, number)
                except ImageError as error:
                    is_lasting = not isinstance(error, ImageUnavailable) or error.status in _GONE
                    if is_lasting or pause is None:
                        logger.warning("image %d of task %s was not stored: %s", number, generation.public_id, error)
                        return
                else:
                    if await self._ledger.find(generation.generation_id) is None:  # it was deleted meanwhile
                        await self.delete(generation)
                    return
                attempted.set()
                with anyio.move_on_after(pause):
                    await self._draining.wait()
                    return
        finally:
            attempted.set()
            del self._storing[key]

    async def _find(self, owner_id: str, number: int, *, is_last_resort: bool = False) -> EncodedImage | None:
        """The bytes of a generation or upload that are in memory or in the folder; see :meth:`ImageFolder.find`."""
        image = self._in_memory.get((owner_id, number))
        if image is None and self._folder is not None:
            find = partial(self._folder.find, owner_id, number, is_last_resort=is_last_resort)
            image = await to_thread.run_sync(find)
        return image

    async def _store(self, owner_id: str, number: int, image: EncodedImage) -> None:
        """Store the bytes of a generation or upload, durably; where the ledger stores them, only a copy.

        Raises:
            OSError: The disk cannot store it.
        """
        if self._ledger.stores_images:
            await self._store_copy(owner_id, number, image)
        elif self._folder is None:
            self._keep_in_memory(owner_id, number, image)
        else:
            store = partial(self._folder.store, owner_id, number, image, is_only_copy=True, stored_at=self._now())
            await to_thread.run_sync(store)

    async def _store_copy(self, generation_id: str, number: int, image: EncodedImage) -> None:
        """Store bytes that also exist at another place, if there is room. A failing disk does not fail the reader."""
        if self._folder is None or not await to_thread.run_sync(self._has_room):
            return
        store = partial(self._folder.store, generation_id, number, image, is_only_copy=False, stored_at=self._now())
        try:
            await to_thread.run_sync(store)
        except OSError as error:
            self._set_problem(f"Copies of images are not stored: {reason_of(error)}.")
            return
        self._set_problem(None)
        if self._max_bytes is not None and self._now() - self._tidied_at > TIDY_INTERVAL_SECONDS:
            await self.tidy()

    def _has_room(self) -> bool:
        assert self._folder is not None
        path = self._folder.path
        while not path.exists() and path != path.parent:
            path = path.parent
        try:
            has_room = self._free_bytes(path) >= MIN_FREE_BYTES
        except OSError:
            return True
        if not has_room:
            self._set_problem("Copies of images are not stored: less than 1 GB of disk space is free.")
        return has_room

    def _set_problem(self, problem: str | None) -> None:
        if problem is not None and problem != self.problem:
            assert self._folder is not None
            logger.warning("%s Folder: %s", problem, self._folder.path)
        self.problem = problem

    def _keep_in_memory(self, generation_id: str, number: int, image: EncodedImage) -> None:
        self._in_memory[generation_id, number] = image
        size_bytes = sum(len(stored.data) for stored in self._in_memory.values())
        while size_bytes > MAX_MEMORY_BYTES and len(self._in_memory) > 1:
            size_bytes -= len(self._in_memory.popitem(last=False)[1].data)

    def _with_missing_images(self, generations: Sequence[Generation]) -> list[Generation]:
        assert self._folder is not None
        deleted_before = float("-inf")
        if self._max_bytes is not None:  # the oldest copies are deleted first
            stored = (entry.stored_at for entry in self._folder.entries() if not entry.is_only_copy)
            deleted_before = min(stored, default=float("inf"))
        return [
            generation
            for generation in generations
            if (generation.finished_at or 0.0) >= deleted_before
            and not all(self._folder.has(generation.generation_id, number) for number in range(len(generation.images)))
        ]

    def _tidy(self) -> None:
        assert self._folder is not None
        assert self._legacy is not None
        entries = list(self._folder.entries())
        expired = float("-inf") if self._keep_days is None else self._now() - self._keep_days * 86_400
        items: list[StoredImage | LegacyImage] = [*entries, *self._legacy.pictures()]
        doomed = [item for item in items if item.stored_at < expired]
        if self._max_bytes is not None:
            items = [item for item in items if item.stored_at >= expired]
            items.sort(key=lambda item: (isinstance(item, LegacyImage) or item.is_only_copy, item.stored_at))
            surplus = sum(item.size_bytes for item in items) - self._max_bytes
            for item in items:
                if surplus <= 0:
                    break
                doomed.append(item)
                surplus -= item.size_bytes
        dropped = set()
        for item in doomed:
            if isinstance(item, LegacyImage):
                item.path.unlink(missing_ok=True)
            else:
                self._folder.drop(item)
                dropped.add(item.sha256)
        self._folder.sweep(dropped)
        self._legacy.drop_copies({entry.sha256 for entry in entries} - dropped, self._now() - LEGACY_UNUSED_SECONDS)
