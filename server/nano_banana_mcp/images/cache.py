"""Pictures by URL: from the cache on disk, else fetched, and once for all who ask at the same time.

The cache is a bounded folder that any number of processes share: ``pictures/`` holds the bytes, named by their SHA-256,
``urls/`` the name of its picture for each URL, by the URL's hash (URLs carry signatures). What was used last goes last.
A disk that fails is in nobody's way.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio import to_thread

from nano_banana_mcp.images.download.fetch import ImageFetcher
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.images.formats import sniff
from nano_banana_mcp.images.image import EncodedImage, give_back_large_blocks


@dataclass(eq=False)
class _Fetch:
    """One URL that is being fetched, and who waits for it."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    callers: int = 0
    outcome: EncodedImage | ImageError | None = None


class CachedDownloads:
    """Gets pictures. It gets any: whoever calls it has seen to it that the URL is the caller's.

    Args:
        trusted_origins: Where pictures may be fetched from besides public hosts.
        folder: Where to keep what was fetched.
        most_bytes: How much of it; 0 for nothing.
    """

    def __init__(self, trusted_origins: Sequence[str], folder: Path | None, most_bytes: int) -> None:
        give_back_large_blocks()
        self._fetcher = ImageFetcher(trusted_origins=trusted_origins)
        self._cache = ImageCache(folder, most_bytes) if folder is not None and most_bytes > 0 else None
        self._fetches: dict[str, _Fetch] = {}

    async def aclose(self) -> None:
        """Close the connections."""
        await self._fetcher.aclose()

    async def get(self, url: str) -> EncodedImage:
        """The picture at a URL.

        Raises:
            ImageError: it cannot be had.
        """
        fetch = self._fetches.setdefault(url, _Fetch())
        fetch.callers += 1
        try:
            async with fetch.lock:  # if the one who fetches is cancelled, the next one does it
                if fetch.outcome is None:
                    fetch.outcome = await self._look_up(url)
        finally:
            fetch.callers -= 1
            if fetch.callers == 0:
                del self._fetches[url]
        if isinstance(fetch.outcome, ImageError):
            raise fetch.outcome
        return fetch.outcome

    async def forget(self, url: str) -> None:
        """Keep no copy of the picture at a URL any more."""
        if self._cache is not None:
            await to_thread.run_sync(self._cache.forget, url)

    async def _look_up(self, url: str) -> EncodedImage | ImageError:
        cache = self._cache
        if cache is not None and (kept := await to_thread.run_sync(cache.find, url)) is not None:
            return kept
        try:
            encoded = await self._fetcher.fetch(url)
        except ImageError as error:
            return error
        if cache is not None:
            await to_thread.run_sync(cache.keep, url, encoded)
        return encoded


logger = logging.getLogger(__name__)

_HASH = re.compile(r"[0-9a-f]{64}")
_STALE_SECONDS = 3_600


class ImageCache:
    """Pictures in ``folder``. Synchronous; does not know who may see what.

    Args:
        most_bytes: Bytes that all pictures together may take.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._images = folder / "pictures"
        self._urls = folder / "urls"
        self._most_bytes = most_bytes

    def find(self, url: str) -> EncodedImage | None:
        """The picture that was kept for a URL. One that is no longer what was kept is dropped."""
        try:
            name = self._place(url).read_text("utf-8")
            if not _HASH.fullmatch(name):
                return None
            path = self._images / name
            data = path.read_bytes()
        except (OSError, ValueError):
            return None
        mime_type = sniff(data)
        with contextlib.suppress(OSError):
            if mime_type is None or _hash(data) != name:
                path.unlink()
                return None
            os.utime(path)  # by this the oldest is told
        return None if mime_type is None else EncodedImage(data, mime_type)

    def keep(self, url: str, encoded: EncodedImage) -> None:
        """Keep a picture, and drop the ones that were not used for longest where there is no room for all."""
        if len(encoded.data) > self._most_bytes:
            return
        name = _hash(encoded.data)
        try:
            for folder in (self._folder, self._images, self._urls):
                folder.mkdir(parents=True, mode=0o700, exist_ok=True)
            _write(self._images / name, encoded.data)
            _write(self._place(url), name.encode())
            self._make_room(name)
        except OSError as error:
            logger.info("a picture is not kept in the cache: %s", error.strerror)

    def forget(self, url: str) -> None:
        """Drop what was kept for a URL, and the picture if no other URL led to it."""
        place = self._place(url)
        with contextlib.suppress(OSError, ValueError):
            name = place.read_text("utf-8")
            place.unlink()
            if _HASH.fullmatch(name) and name not in {path.read_text("utf-8") for path in self._urls.iterdir()}:
                (self._images / name).unlink()

    def _place(self, url: str) -> Path:
        return self._urls / _hash(url.encode("utf-8", "surrogatepass"))

    def _make_room(self, newest: str) -> None:
        known = []
        for path in self._images.iterdir():
            with contextlib.suppress(OSError):  # another process may have dropped it
                found = path.stat()
                if path.name.startswith(".") and found.st_mtime < time.time() - _STALE_SECONDS:
                    path.unlink()  # half written by a process that was killed
                else:
                    known.append((found.st_mtime_ns, found.st_size, path))
        total = sum(size for _, size, _ in known)
        dropped = set()
        for _, size, path in sorted(known):
            if total <= self._most_bytes:
                break
            if path.name != newest:
                with contextlib.suppress(OSError):
                    path.unlink()
                    dropped.add(path.name)
                total -= size
        if dropped:
            self._forget_urls(kept={path.name for _, _, path in known} - dropped)

    def _forget_urls(self, kept: set[str]) -> None:
        for path in self._urls.iterdir():
            with contextlib.suppress(OSError, ValueError):
                if path.read_text("utf-8") not in kept:
                    path.unlink()


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all; readable by the user only."""
    number, part = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
