"""Images that people bring: a person is asked, uploads within the time of a grant, and the image is a reference."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from nano_banana_mcp.common.rate_limit import RateLimiter
from nano_banana_mcp.common.urls import upload_uri
from nano_banana_mcp.generations.quotas import LimitReached, day_start
from nano_banana_mcp.generations.uploads import GRANT, Upload, UploadRequest, new_reference_id, new_upload_request
from nano_banana_mcp.images.errors import ImageError, ImageUnavailable, NotAnImage
from nano_banana_mcp.images.formats import dimensions
from nano_banana_mcp.images.image import MAX_BYTES, EncodedImage, image_from_bytes, too_many_bytes
from nano_banana_mcp.ledger.base import Ledger
from nano_banana_mcp.media.image_store import ImageStore, NoSuchImage

MAX_PIECE_BYTES = 300_000
"""Bytes of one piece of an image. With its base64 it stays below what hosts pass on in one call."""

MAX_PIECES = 128
"""Pieces of one image."""

MAX_STORED_PIECES_BYTES = 4 * MAX_BYTES
"""Pieces of incomplete images of one principal: as many as one request may ask for."""

PIECES_PER_MINUTE = 600
"""Pieces of one caller, which do not count as calls."""

POLL_SECONDS = 1.0
"""Pause between two readings of the ledger in a wait: another replica may have taken the upload."""

_SOURCE = "The upload"

BaseUrl = Callable[[UploadRequest, str | None], Awaitable[str | None]]
"""Returns the URL below which the page of a request is served; the second argument is the call's Host header."""


def upload_reference(upload: Upload) -> dict[str, str | int]:
    """Return an upload as callers see it."""
    return {
        "resource_uri": upload_uri(upload.reference_id),
        "mime_type": upload.mime_type,
        "width": upload.width,
        "height": upload.height,
    }


class UploadClosed(ImageError):
    """The request for images is not known, used up or expired."""

    hint = "Call add_reference for a new one."


async def no_base_url(request: UploadRequest, host: str | None) -> str | None:
    """No page is served."""
    return None


class UploadService:
    """Asks people for images and takes them.

    Args:
        per_day: Maximum number of uploads of one principal on a day (UTC); None for no limit.
        max_side: Longest side in pixels of a stored image.
        base_url: Where the upload page is served.
        now: Wall-clock time, Unix seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        images: ImageStore,
        *,
        per_day: int | None,
        max_side: int,
        base_url: BaseUrl = no_base_url,
        now: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._images = images
        self._per_day = per_day
        self._max_side = max_side
        self._base_url = base_url
        self._now = now
        self._arrived = anyio.Event()
        self._draining = False
        self._piece_rate = RateLimiter()
        self._subscribers: list[Callable[[Upload], None]] = []

    @property
    def max_side(self) -> int:
        """Longest side in pixels of a stored image."""
        return self._max_side

    def subscribe(self, subscriber: Callable[[Upload], None]) -> None:
        """Call ``subscriber`` with each upload from now on."""
        self._subscribers.append(subscriber)

    async def ask(self, principal: str, purpose: str | None = None, count: int = 1) -> UploadRequest:
        """Record a new request for ``count`` images.

        Raises:
            LimitReached: The principal's uploads of today are used up.
            LedgerError: It cannot be recorded.
        """
        now = self._now()
        self._check(await self._ledger.count_uploads(principal, day_start(now)))
        request = new_upload_request(principal, purpose, count, now)
        await self._ledger.save_upload_request(request)
        return request

    async def find(self, upload_id: str, principal: str) -> UploadRequest:
        """Return the principal's request.

        Raises:
            UploadClosed: It does not exist, or belongs to another principal.
            LedgerError: The ledger cannot be read.
        """
        request = await self._ledger.find_upload_request(upload_id, principal)
        if request is None:
            raise UploadClosed("You have no upload with this upload_id on this server.")
        return request

    async def page_url(self, request: UploadRequest, host: str | None = None) -> str | None:
        """Return the address of a request's page; None if no page is served.

        Args:
            host: The Host header of the call, if it has one.
        """
        base = await self._base_url(request, host) if self.is_open(request) else None
        return None if base is None else f"{base}/references/{request.grant}"

    async def open_grant(self, grant: str) -> UploadRequest | None:
        """Return the request that can be answered with this grant; None for one that is unknown, used or expired.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        request = await self._ledger.find_grant(grant) if GRANT.fullmatch(grant) else None
        return request if request is not None and self.is_open(request) else None

    def is_open(self, request: UploadRequest) -> bool:
        """Whether an image may still be uploaded."""
        return request.is_open(self._now())

    async def receive(self, request: UploadRequest, data: bytes) -> Upload:
        """Take an image: checked by its bytes, upright, without metadata, within the size of a reference.

        Raises:
            UploadClosed: The request is used up or has expired.
            ImageError: The bytes are not an image that can be used, or cannot be stored.
            LimitReached: The principal's uploads of today are used up.
            LedgerError: The upload cannot be recorded.
        """
        from nano_banana_mcp.images.resizing.reference import normalize_upload

        if len(data) > MAX_BYTES:
            raise too_many_bytes(_SOURCE, MAX_BYTES)
        # Checked again when it is recorded; here, since decoding takes a process for each image.
        self._check(await self._ledger.count_uploads(request.principal, day_start(self._now())))
        image = await normalize_upload(image_from_bytes(data, source=_SOURCE), max_side=self._max_side)
        size = dimensions(image.data)
        assert size is not None, "it was encoded here"
        now = self._now()
        upload = Upload(
            new_reference_id(), request.upload_id, request.principal, image.mime_type, *size, created_at=now
        )
        with anyio.CancelScope(shield=True):  # bytes and row belong together
            await self._record(upload, image, now)
        self.announce(upload)
        return upload

    async def receive_piece(
        self, request: UploadRequest, image: int, piece: int, pieces: int, data: bytes
    ) -> Upload | None:
        """Take one piece of an image. The piece with the highest number must come last.

        Args:
            image: Number of the image in its request, from 0.
            piece: Number of the piece, from 0.
            pieces: Number of all pieces of this image.

        Returns:
            The upload once the piece with the highest number arrives; None before.

        Raises:
            LimitReached: Too many pieces in a short time, or as :meth:`receive`.
            ImageError: As :meth:`receive`, or other pieces are missing when the last one arrives.
            LedgerError: The ledger cannot be used.
        """
        if not self.is_open(request) or image >= request.count:
            raise UploadClosed("This upload is used up or has expired.")
        if len(data) > MAX_PIECE_BYTES or piece >= pieces:
            raise NotAnImage("This is not a piece of an upload.", hint="Send pieces of at most 300 kB, from 0.")
        interval = 60.0 / PIECES_PER_MINUTE
        if wait := self._piece_rate.acquire(request.principal, burst=PIECES_PER_MINUTE, interval_seconds=interval):
            raise LimitReached(f"Rate limit exceeded: {PIECES_PER_MINUTE} pieces per minute.", f"Wait {wait:.0f} s.")
        if pieces == 1:
            return await self.receive(request, data)
        if not await self._ledger.save_piece(request.upload_id, image, piece, data, MAX_STORED_PIECES_BYTES):
            raise LimitReached(
                "Too many images are being uploaded.", "Those that are not complete are dropped after 15 minutes."
            )
        if piece < pieces - 1:
            return None
        parts = await self._ledger.take_pieces(request.upload_id, image)
        if sorted(parts) != list(range(pieces)):
            raise NotAnImage("Pieces of this upload are missing.", hint="Send the image again.")
        return await self.receive(request, b"".join(parts[number] for number in range(pieces)))

    async def arrived(self, request: UploadRequest) -> list[Upload]:
        """Return what has been uploaded for a request, oldest first.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        return await self._ledger.uploads_for(request.upload_id)

    async def wait(
        self, request: UploadRequest, seconds: float, report: Callable[[float], Awaitable[None]]
    ) -> UploadRequest:
        """Wait at most ``seconds`` until a request is used up or expired. Returns its state then.

        Args:
            report: Called at once and then every second, with the seconds waited.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        deadline = anyio.current_time() + seconds
        while self.is_open(request) and not self._draining and (left := deadline - anyio.current_time()) > 0:
            arrived = self._arrived
            await report(seconds - left)
            with anyio.move_on_after(min(left, POLL_SECONDS)):
                await arrived.wait()
            request = await self.find(request.upload_id, request.principal)
        return request

    async def open(self, reference_id: str, principal: str) -> EncodedImage:
        """Return the bytes of an upload.

        Raises:
            NoSuchImage: It does not exist, or it belongs to another principal, or its bytes are gone.
            LedgerError: The ledger cannot be read.
        """
        upload = await self._ledger.find_upload(reference_id)
        if upload is None or upload.principal != principal:
            raise NoSuchImage
        return await self._images.open_upload(upload)

    async def reload(self, reference_id: str) -> None:
        """Announce an upload that another process has taken.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        upload = await self._ledger.find_upload(reference_id)
        if upload is not None:
            self.announce(upload)

    def announce(self, upload: Upload) -> None:
        """Wake waits and call the subscribers."""
        arrived, self._arrived = self._arrived, anyio.Event()
        arrived.set()
        for subscriber in self._subscribers:
            subscriber(upload)

    def drain(self) -> None:
        """End every wait: the server is about to end."""
        self._draining = True
        self._arrived.set()

    async def _record(self, upload: Upload, image: EncodedImage, now: float) -> None:
        try:
            await self._images.put_upload(upload, image)
        except OSError as error:
            raise ImageUnavailable(
                f"{_SOURCE} cannot be stored: {error.strerror or 'the disk fails'}.", hint="Free some disk space."
            ) from None
        is_recorded = False
        try:
            is_recorded = await self._ledger.add_upload(upload, image.data, now, self._check, day_start(now))
        finally:
            if not is_recorded:
                await self._images.delete_upload(upload)
        if not is_recorded:
            raise UploadClosed("This upload is used up or has expired.")

    def _check(self, uploads_today: int) -> None:
        if self._per_day is not None and uploads_today >= self._per_day:
            raise LimitReached(
                f"Your limit of {self._per_day} uploads per day is reached.",
                "It is renewed at 00:00 UTC. The operator of this server can raise it (NANO_BANANA_UPLOADS_PER_DAY).",
            )
