"""The bytes of pictures: fetched from where they are, or from the ledger where they came as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nano_banana_mcp.generations.ledger import Ledger
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.images.picture import Picture
from nano_banana_mcp.urls import http_url

if TYPE_CHECKING:
    from nano_banana_mcp.images.fetch import PictureFetcher


class NoSuchPicture(LookupError):
    """This server handed out no such picture."""


class Album:
    """Opens the pictures that the ledger knows of, and no others.

    Args:
        trusted_origins: Where pictures may be fetched from besides public hosts: the sandbox's own origin.
        opened_at: When this server began (Unix time, seconds).
    """

    def __init__(self, ledger: Ledger, trusted_origins: Sequence[str], opened_at: float) -> None:
        self._ledger = ledger
        self._opened_at = opened_at
        self._trusted_origins = trusted_origins
        self._opened_fetcher: PictureFetcher | None = None

    def still_serves(self, known: Generation) -> bool:
        """Whether the URLs of its pictures can lead anywhere: those of a sandbox inside a server ended with it."""
        return known.api != "sandbox" or known.created_at >= self._opened_at

    async def aclose(self) -> None:
        """Close what was opened for fetching."""
        if self._opened_fetcher is not None:
            await self._opened_fetcher.aclose()

    async def open(self, known: Generation, number: int) -> Picture:
        """The bytes of a picture, by its generation and its number in it.

        Raises:
            NoSuchPicture: it has no picture of that number.
            PictureError: the bytes cannot be had.
        """
        if not 0 <= number < len(known.images):
            raise NoSuchPicture
        url = known.images[number].url
        if url is not None:
            return await self._fetcher.fetch(url)
        kept = await self._ledger.picture(known.intent_id, number)
        if kept is None:
            raise NoSuchPicture
        return kept

    async def by_url(self, url: str, principal: str = "") -> Picture:
        """The bytes of a picture, by the URL that this server handed out to this caller for it.

        Raises:
            NoSuchPicture: this server did not hand out that URL to them.
            PictureError: the bytes cannot be had.
        """
        address = http_url(url)  # clients differ in how they spell a URL that they were handed
        if address is None or await self._ledger.find_image(address, principal) is None:
            raise NoSuchPicture
        return await self._fetcher.fetch(address)

    @property
    def _fetcher(self) -> PictureFetcher:
        if self._opened_fetcher is None:
            from nano_banana_mcp.images.fetch import PictureFetcher

            self._opened_fetcher = PictureFetcher(trusted_origins=self._trusted_origins)
        return self._opened_fetcher
