"""What the gallery shows: generations of the ledger and their images."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from nano_banana_mcp.common.files import display_path, reason_of
from nano_banana_mcp.gallery.archive import ArchiveStream
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.uploads import Upload
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.images.formats import dimensions, extension_for
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.resizing.worker import shrink_in_worker
from nano_banana_mcp.images.saving.filenames import file_name
from nano_banana_mcp.images.saving.output_folder import OutputFolder
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.ledger.queries import MAX_SCANNED_ROWS, Filters, Order, SqlLedger, is_short
from nano_banana_mcp.media.image_store import ImageStore, NoSuchImage
from nano_banana_mcp.service.uploads import UploadService, upload_reference

logger = logging.getLogger(__name__)

PAGE_SIZE = 48
"""Generations on one page: full rows of two, three, four or six."""

MAX_PAGE_SIZE = 4_800

MAX_THUMBNAIL_SIDE = 512
"""Pixels."""
MAX_THUMBNAIL_BYTES = 80_000

MAX_LISTED_UPLOADS = 200

T = TypeVar("T")


class GalleryService:
    """The generations of all callers of a ledger: a person who opens the gallery can read the ledger anyway.

    Args:
        ledger: Used by one thread at a time and by no other object.
        images: The store of their bytes.
        receiver: Takes marked copies of images.
        saved: The folder that finished images are exported to, if any.
    """

    def __init__(
        self, ledger: SqlLedger, images: ImageStore, receiver: UploadService, saved: OutputFolder | None
    ) -> None:
        self._ledger = ledger
        self._images = images
        self._receiver = receiver
        self._saved = saved
        self._one_at_a_time = anyio.CapacityLimiter(1)

    async def page(self, filters: Filters, order: Order, offset: int, limit: int) -> dict[str, Any]:
        """One page of the generations that match, and the sums of all that match.

        Args:
            filters: What must match.
            offset: Number of matches before the page.
            limit: Maximum number on the page.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        matches, tally, models, favorites = await self._run(
            lambda ledger: (
                ledger.history(limit=limit, offset=offset, order=order, **filters),
                ledger.tally(**filters),
                ledger.models(),
                ledger.favorites(),
            )
        )
        return {
            "generations": [{**row(item), "favorite": item.generation_id in favorites} for item in matches],
            "number": tally.number,
            "credits": f"{tally.credits:f}",
            "models": models,
            "newest_only": MAX_SCANNED_ROWS if is_short(filters.get("search") or "   ") else None,
            "uploads": await self.uploads(),
        }

    async def find(self, generation_id: str) -> Generation | None:
        """The generation of this id, None if there is no such generation.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        return await self._run(lambda ledger: ledger.find(generation_id))

    async def find_item(self, item_id: str) -> Generation | Upload | None:
        """The generation or upload of this id; None if neither has it.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        return await self.find(item_id) or await self._run(partial(SqlLedger.find_upload, reference_id=item_id))

    async def detail(self, generation: Generation) -> dict[str, Any]:
        """A generation for the page, with the file of each image: an exported one, else that of the image store.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        favorites = await self._run(SqlLedger.favorites)
        files = [await self._file(generation, number) for number in range(len(generation.images))]
        return {**row(generation), "favorite": generation.generation_id in favorites, "files": files}

    async def _file(self, generation: Generation, number: int) -> str | None:
        path = None
        if self._saved is not None:
            try:
                path = await anyio.to_thread.run_sync(self._saved.find, generation.public_id, number)
            except OSError:
                path = None
        path = path or await self._images.path_of(generation, number)
        return None if path is None else display_path(path)

    async def set_favorite(self, generation_id: str, *, is_favorite: bool) -> None:
        """Make a generation a favorite, or no favorite any more.

        Raises:
            LedgerError: The ledger cannot be written.
        """
        await self._run(partial(SqlLedger.set_favorite, generation_id=generation_id, is_favorite=is_favorite))

    async def image(self, generation: Generation, number: int) -> EncodedImage:
        """An image of a generation, counted from 0: from the folder of exported files, or from the image store.

        Raises:
            NoSuchImage: The generation has no image of that number.
            ImageError: The bytes are not available.
        """
        if self._saved is not None:
            try:
                saved = await anyio.to_thread.run_sync(self._saved.read, generation.public_id, number)
            except OSError as error:
                logger.info("The folder of exported images cannot be read: %s", reason_of(error))
                saved = None
            if saved is not None:
                return saved
        return await self._images.open(generation, number)

    async def archive(self, items: Sequence[Generation | Upload]) -> AsyncIterator[bytes]:
        """Yield a ZIP archive of images. A text file in it names those that are not available."""
        stream = ArchiveStream()
        missing = []
        for item in items:
            for number in range(1 if isinstance(item, Upload) else len(item.images)):
                try:
                    encoded = await self._open(item, number)
                except NoSuchImage:
                    missing.append(f"{_id_of(item)}, picture {number}: it is no longer available")
                except (ImageError, LedgerError) as error:
                    missing.append(f"{_id_of(item)}, picture {number}: {str(error).strip()}")
                else:
                    yield stream.add(name_of(item, number, encoded), encoded.data, item.created_at)
        if missing:
            yield stream.add("missing.txt", "".join(f"{line}\n" for line in missing).encode(), time.time())
        yield stream.close()

    async def _open(self, item: Generation | Upload, number: int) -> EncodedImage:
        if isinstance(item, Upload):
            return await self._images.open_upload(item)
        return await self.image(item, number)

    async def thumbnail(self, generation: Generation, number: int) -> EncodedImage:
        """A small version of an image. Raises as :meth:`image` does."""
        return await _shrink(await self.image(generation, number))

    async def delete(self, generation_id: str, *, unfinished: bool) -> bool:
        """Delete a generation from the ledger, and its stored images. Exported files stay.

        Args:
            unfinished: Whether a generation without a known outcome may be deleted, too.

        Returns:
            Whether it was deleted.

        Raises:
            LedgerError: The ledger cannot be written.
        """
        deleted = await self._run(partial(SqlLedger.delete, generation_id=generation_id, unfinished=unfinished))
        if deleted is not None:
            await self._images.delete(deleted)
        return deleted is not None

    async def uploads(self) -> list[dict[str, Any]]:
        """The newest images that people uploaded, newest first.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        return [
            upload_row(upload)
            for upload in await self._run(partial(SqlLedger.recent_uploads, limit=MAX_LISTED_UPLOADS))
        ]

    async def add_upload(self, data: bytes, principal: str) -> dict[str, Any]:
        """Take the marked copy of an image of ``principal``.

        Raises:
            ImageError: The bytes are not an image that can be used, or cannot be stored.
            LimitReached: The principal's uploads of today are used up.
            LedgerError: The upload cannot be recorded.
        """
        return upload_row(await self._receiver.receive(await self._receiver.ask(principal), data))

    async def uploaded_image(self, reference_id: str) -> EncodedImage:
        """An image that a person uploaded.

        Raises:
            NoSuchImage: No upload has this id, or its bytes are gone.
            LedgerError: The ledger cannot be read.
        """
        upload = await self._run(partial(SqlLedger.find_upload, reference_id=reference_id))
        if upload is None:
            raise NoSuchImage
        return await self._images.open_upload(upload)

    async def uploaded_thumbnail(self, reference_id: str) -> EncodedImage:
        """A small version of an uploaded image. Raises as :meth:`uploaded_image` does."""
        return await _shrink(await self.uploaded_image(reference_id))

    async def delete_upload(self, reference_id: str) -> bool:
        """Delete an uploaded image with its bytes. Returns whether there was one.

        Raises:
            LedgerError: The ledger cannot be written.
            OSError: The bytes cannot be deleted.
        """
        upload = await self._run(partial(SqlLedger.delete_upload, reference_id=reference_id))
        if upload is not None:
            await self._images.delete_upload(upload)
        return upload is not None

    async def _run(self, query: Callable[[SqlLedger], T]) -> T:
        with anyio.CancelScope(shield=True):  # a write that has begun must end
            answer = await anyio.to_thread.run_sync(query, self._ledger, limiter=self._one_at_a_time)
        return answer  # noqa: RET504 - to a type checker, a cancel scope may suppress an exception


async def _shrink(encoded: EncodedImage) -> EncodedImage:
    size = dimensions(encoded.data)
    if size is not None and max(size) <= MAX_THUMBNAIL_SIDE and len(encoded.data) <= MAX_THUMBNAIL_BYTES:
        return encoded
    return await shrink_in_worker(encoded, max_side=MAX_THUMBNAIL_SIDE, max_bytes=MAX_THUMBNAIL_BYTES)


def _id_of(item: Generation | Upload) -> str:
    return item.reference_id if isinstance(item, Upload) else item.public_id


def name_of(item: Generation | Upload, number: int, image: EncodedImage) -> str:
    """Return the file name for an image."""
    return file_name(
        created_at=item.created_at,
        prompt="added picture" if isinstance(item, Upload) else item.prompt,
        task_id=_id_of(item),
        number=number,
        extension=extension_for(image.mime_type),
    )


def row(generation: Generation) -> dict[str, Any]:
    """A generation for the page; times in Unix seconds."""
    return {
        "id": generation.generation_id,
        "task_id": generation.task_id,
        "status": generation.status.value,
        "finished": generation.finished,
        "pictures": len(generation.images) if generation.status is Status.SUCCESS else 0,
        "urls": [None if generation.api == "sandbox" else image.url for image in generation.images],  # it has ended
        "prompt": generation.prompt,
        "options": generation.options,
        "model": generation.model,
        "credits": generation.credits_consumed,
        "sandbox": generation.is_sandbox,
        "message": generation.message,
        "principal": generation.principal,
        "created_at": generation.created_at,
        "seconds": generation.elapsed_seconds(generation.finished_at) if generation.finished_at is not None else None,
    }


def upload_row(upload: Upload) -> dict[str, Any]:
    """An upload for the page; times in Unix seconds."""
    return {
        "id": upload.reference_id,
        **upload_reference(upload),
        "principal": upload.principal,
        "created_at": upload.created_at,
    }
