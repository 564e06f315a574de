"""Pictures by URL: from the cache, else fetched, and once for all who ask at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio import to_thread

from nano_banana_mcp.images.cache import PictureCache
from nano_banana_mcp.images.errors import PictureError
from nano_banana_mcp.images.fetch import PictureFetcher
from nano_banana_mcp.images.memory import give_back_large_blocks
from nano_banana_mcp.images.picture import Picture


@dataclass(eq=False)
class _Fetch:
    """One URL that is being fetched, and who waits for it."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    callers: int = 0
    outcome: Picture | PictureError | None = None


class Library:
    """Gets pictures. It gets any: whoever calls it has seen to it that the URL is the caller's.

    Args:
        trusted_origins: Where pictures may be fetched from besides public hosts.
        folder: Where to keep what was fetched.
        most_bytes: How much of it; 0 for nothing.
    """

    def __init__(self, trusted_origins: Sequence[str], folder: Path | None, most_bytes: int) -> None:
        give_back_large_blocks()
        self._fetcher = PictureFetcher(trusted_origins=trusted_origins)
        self._cache = PictureCache(folder, most_bytes) if folder is not None and most_bytes > 0 else None
        self._fetches: dict[str, _Fetch] = {}

    async def aclose(self) -> None:
        """Close the connections."""
        await self._fetcher.aclose()

    async def get(self, url: str) -> Picture:
        """The picture at a URL.

        Raises:
            PictureError: it cannot be had.
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
        if isinstance(fetch.outcome, PictureError):
            raise fetch.outcome
        return fetch.outcome

    async def forget(self, url: str) -> None:
        """Keep no copy of the picture at a URL any more."""
        if self._cache is not None:
            await to_thread.run_sync(self._cache.forget, url)

    async def _look_up(self, url: str) -> Picture | PictureError:
        cache = self._cache
        if cache is not None and (kept := await to_thread.run_sync(cache.find, url)) is not None:
            return kept
        try:
            picture = await self._fetcher.fetch(url)
        except PictureError as error:
            return error
        if cache is not None:
            await to_thread.run_sync(cache.keep, url, picture)
        return picture
