"""What a studio does with this machine's disk: finished pictures go to a folder, reference pictures come from some.

Most servers do neither, so the parts are opened, and imported, with their first use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anyio.abc import TaskGroup

from nano_banana_mcp.defapi.wire import SubmitRequest
from nano_banana_mcp.generations.album import Album
from nano_banana_mcp.generations.models import Generation

if TYPE_CHECKING:
    from nano_banana_mcp.generations.keeper import Keeper, Kept
    from nano_banana_mcp.generations.references import Look, References

KEEPING_SECONDS = 10.0
"""How long a call that hands back a finished picture waits for it to be saved."""

LEAST_KEEPING_SECONDS = 2.0
"""So long it waits even where its own time is over."""


@dataclass(frozen=True, slots=True)
class Places:
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


class Desk:
    """Keeps pictures, and gets references ready.

    Args:
        look: Finds a task of a caller.
        tasks: Where pictures are saved, apart from those who wait for it.
        now: Wall-clock time, Unix seconds.
    """

    def __init__(self, album: Album, places: Places, look: Look, tasks: TaskGroup, now: Callable[[], float]) -> None:
        self._album = album
        self._places = places
        self._look = look
        self._references: References | None = None
        self._keeper: Keeper | None = None
        if places.output is not None:
            from nano_banana_mcp.generations.keeper import Keeper
            from nano_banana_mcp.images.folder import PictureFolder

            self._keeper = Keeper(album, PictureFolder(places.output), tasks, now, shown=places.output_shown)

    def keep(self, generation: Generation) -> None:
        """Begin to save its pictures, if they are to be saved."""
        if self._keeper is not None:
            self._keeper.keep(generation)

    async def kept(self, generation: Generation, seconds: float | None = None) -> Kept | None:
        """Where its pictures were saved. Sees to it if nobody has yet, and waits for it, but not for long.

        Args:
            seconds: What is left of the caller's own time.
        """
        if self._keeper is None:
            return None
        longest = KEEPING_SECONDS
        return await self._keeper.kept(
            generation, longest if seconds is None else min(longest, max(LEAST_KEEPING_SECONDS, seconds))
        )

    async def ready(self, request: SubmitRequest, principal: str) -> SubmitRequest:
        """``request`` with references that the API can read.

        Raises:
            PictureError: one of them cannot be used.
            DefapiError: the task that one was made by cannot be asked for.
        """
        if not request.images:
            return request
        if self._references is None:
            from nano_banana_mcp.generations.references import References

            self._references = References(self._look, self._album, self._keeper, self._places)
        return await self._references.ready(request, principal)

    async def settled(self) -> None:
        """Return when nothing is being saved any more."""
        if self._keeper is not None:
            await self._keeper.settled()

    def drain(self) -> None:
        """Let nobody wait for the saving any more: the server is about to end."""
        if self._keeper is not None:
            self._keeper.drain()
