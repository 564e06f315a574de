"""Turns the reference images of a request into URLs and data URIs that the API can read."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from nano_banana_mcp.common.urls import IMAGE_URI, UPLOAD_URI
from nano_banana_mcp.defapi.errors import TaskNotFound
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.batches import located_images
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.images.data_uri import read_image, to_data_uri
from nano_banana_mcp.images.errors import ImageError, ImageUnavailable
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.public_urls import is_inside_network, origin_of
from nano_banana_mcp.media.image_store import ImageStore, NoSuchImage
from nano_banana_mcp.service.uploads import UploadService
from nano_banana_mcp.tracking.refresh import TaskRefresher

if TYPE_CHECKING:
    from nano_banana_mcp.images.saving.output_folder import OutputFolder

GONE_STATUSES = {404, 410}

MAX_CONCURRENT_RESIZES = 2
"""A decoded image may take hundreds of megabytes."""


class ReferenceRefused(ImageError):
    """A reference that cannot be used, for a reason other than its bytes."""

    hint = "Pass an http(s) URL, an image data URI, or the resource_uri of one of your images."


class CallbackRefused(ReferenceRefused):
    """A ``callback_url`` that the API cannot reach."""

    hint = "Leave callback_url out: the server notices the end by itself."


class ReferenceResolver:
    """Turns what callers name into what the API can read: a URL or a data URI.

    Args:
        api_url: Address of the API: images at its own origin may be inside a network (the sandbox's).
        folder: Where finished images are exported to; None if they are not.
        input_folders: Folders that images may be read from. None if callers are not on this machine: then every path
            is refused before the disk is touched.
        max_side: Longest side in pixels of an image that is sent as a data URI; a longer one is shrunk.
    """

    def __init__(
        self,
        refresher: TaskRefresher,
        images: ImageStore,
        uploads: UploadService,
        folder: OutputFolder | None,
        *,
        api_url: str,
        input_folders: tuple[Path, ...] | None,
        max_side: int,
    ) -> None:
        self._refresher = refresher
        self._images = images
        self._uploads = uploads
        self._folder = folder
        self._own_origin = origin_of(api_url)
        self._input_folders = input_folders
        self._max_side = max_side
        self._limiter = anyio.CapacityLimiter(MAX_CONCURRENT_RESIZES)

    async def resolve(self, request: SubmitRequest, principal: str) -> SubmitRequest:
        """Return the request with references that the API can read.

        Raises:
            ImageError: a reference cannot be used.
            DefapiError: the task that a reference names cannot be queried.
        """
        if not request.images:
            return request
        images = [await self._resolve_one(reference, principal) for reference in request.images]
        return request if images == request.images else request.model_copy(update={"images": images})

    def require_reachable_callback(self, url: str) -> None:
        """Refuse a caller's ``callback_url`` that the API cannot reach.

        Raises:
            CallbackRefused: It leads into a network.
        """
        if problem := self._problem_of(url):
            raise CallbackRefused(f"The callback_url {problem}")

    async def _resolve_one(self, reference: str, principal: str) -> str:
        if match := UPLOAD_URI.fullmatch(reference):
            return await self._as_data_uri(await self._open_upload(match[1], principal))
        if match := IMAGE_URI.fullmatch(reference):
            return await self._resolve_resource(match[1], int(match[2]), principal)
        if reference[:5].lower() == "data:":
            return await self._as_data_uri(
                await anyio.to_thread.run_sync(partial(read_image, reference, source="The data URI"))
            )
        if reference[:5].lower() in ("http:", "https"):
            if problem := self._problem_of(reference):
                raise ReferenceRefused(
                    f"A reference {problem}",
                    hint="Pass the image itself: its path (over stdio), a data URI, or a URL on the internet.",
                )
            return reference
        if self._input_folders is None:
            raise ReferenceRefused("This server does not read files by path; only a server over stdio does.")
        return await self._as_data_uri(
            await anyio.to_thread.run_sync(self._read_file, reference, abandon_on_cancel=True)  # a disk may hang
        )

    def _problem_of(self, url: str) -> str | None:
        """Why the API cannot read a URL; None if it can."""
        if origin_of(url) == self._own_origin:
            return None
        parts = urlsplit(url)
        if "@" in parts.netloc:
            return "has a user name or a password in its URL, which is not passed on."
        if is_inside_network(url):
            host = parts.hostname
            return f"is at {host}, reachable only from this machine or its network. The image API cannot reach it."
        return None

    def _read_file(self, reference: str) -> EncodedImage:
        from nano_banana_mcp.images.local.local_files import LocalFiles, path_of

        assert self._input_folders is not None
        folders = self._input_folders
        path = Path(path_of(reference))
        if self._folder is not None and path.parent == self._folder.path and self._folder.has_saved(path.name):
            folders = (*folders, self._folder.path)
        return LocalFiles(folders).read(reference)

    async def _open_upload(self, reference_id: str, principal: str) -> EncodedImage:
        try:
            return await self._uploads.open(reference_id, principal)
        except NoSuchImage:
            raise ReferenceRefused(
                "You have no uploaded image with this resource URI on this server.", hint="Call add_reference."
            ) from None

    async def _resolve_resource(self, task_id: str, number: int, principal: str) -> str:
        try:
            item = await self._refresher.get(task_id, principal)
        except TaskNotFound:
            raise ReferenceRefused("You have no image with this resource URI on this server.") from None
        images = located_images(item)
        if number >= len(images) and not item.finished:
            raise ReferenceRefused("The image of this resource URI is not finished.", hint="Call wait_for_image first.")
        if number >= len(images):
            raise ReferenceRefused("You have no image with this resource URI on this server.")
        generation, number = images[number]
        exported = await self._read_exported(generation, number)
        if exported is not None:
            return await self._as_data_uri(exported)
        # The URL would do while it lives, but it may die at any time, and the API takes the money first.
        url = generation.images[number].url
        try:
            image = await self._images.open(generation, number)
        except NoSuchImage:
            raise ReferenceRefused("The data of this image is no longer available.") from None
        except ImageUnavailable as error:
            if url is None or error.status in GONE_STATUSES or not self._images.urls_can_work(generation):
                raise
            return url  # its host refuses this server; it may accept the API
        return await self._as_data_uri(image)

    async def _read_exported(self, generation: Generation, number: int) -> EncodedImage | None:
        if self._folder is None:
            return None
        try:
            return await anyio.to_thread.run_sync(self._folder.read, generation.public_id, number)
        except OSError:
            return None  # the image store may have it

    async def _as_data_uri(self, image: EncodedImage) -> str:
        from nano_banana_mcp.images.resizing.reference import fit_reference

        async with self._limiter:
            smaller = await fit_reference(image, max_side=self._max_side)
        return await anyio.to_thread.run_sync(to_data_uri, smaller)
