"""The ledger that a server uses: on disk, and in memory wherever the disk fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

from nano_banana_mcp.generations.ledger import LedgerError, MemoryLedger, without_look
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.images.picture import Picture

if TYPE_CHECKING:
    from nano_banana_mcp.generations.sqlite import SqliteLedger

logger = logging.getLogger(__name__)

T = TypeVar("T")


class DurableLedger:
    """A :class:`~nano_banana_mcp.generations.ledger.Ledger` in ``folder``.

    What this process has seen is also in memory, so that a disk that fails (full, read-only, a spoiled file)
    stops nothing: the trouble is logged and told by :attr:`problem`, and what could not be written is written
    with the next thing that can.

    Args:
        folder: The state folder; opened with the first use, in a thread.
        prune: Called once with the opened file, to drop what the settings no longer want.
    """

    def __init__(self, folder: Path, prune: Callable[[SqliteLedger], object] | None = None) -> None:
        self._folder = folder
        self._prune = prune
        self._disk: SqliteLedger | None = None
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._memory = MemoryLedger()
        self._unwritten: dict[str, tuple[Generation, dict[int, Picture] | None]] = {}
        self._written: dict[str, Generation] = {}
        self.problem: str | None = None

    async def begin(self, intent: Generation) -> Generation:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        written = await self._try(lambda disk: disk.begin(intent), None)
        if written is None:  # the disk fails: the intent is at least known while this process lives
            self._unwritten[intent.intent_id] = (intent, None)
            return await self._memory.begin(intent)
        if written.intent_id == intent.intent_id:
            await self._memory.save(intent)
        return written

    async def save(self, generation: Generation, pictures: dict[int, Picture] | None = None) -> None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        await self._memory.save(generation, pictures)
        if self._written.get(generation.intent_id) == without_look(generation):
            return
        if await self._try(lambda disk: disk.save(generation, pictures), None) is None:
            self._unwritten[generation.intent_id] = (generation, pictures)
            return
        if generation.finished:
            self._written.pop(generation.intent_id, None)
        else:
            self._written[generation.intent_id] = without_look(generation)

    async def forget(self, intent_id: str) -> None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        await self._memory.forget(intent_id)
        self._unwritten.pop(intent_id, None)
        await self._try(lambda disk: disk.forget(intent_id), None)

    async def find(self, handle: str) -> Generation | None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        known = await self._memory.find(handle)
        # Of an unknown outcome another process, or a callback, may know more by now.
        if known is not None and known.task_id is not None:
            return known
        return await self._try(lambda disk: disk.find(handle), None) or known

    async def find_request(self, request_id: str) -> Generation | None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        found = await self._try(lambda disk: disk.find_request(request_id), None)
        return found or await self._memory.find_request(request_id)

    async def find_image(self, url: str) -> Generation | None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        known = await self._memory.find_image(url)
        return known or await self._try(lambda disk: disk.find_image(url), None)

    async def picture(self, intent_id: str, number: int) -> Picture | None:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        kept = await self._memory.picture(intent_id, number)
        return kept or await self._try(lambda disk: disk.picture(intent_id, number), None)

    async def recent(self, limit: int) -> list[Generation]:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        on_disk = await self._try(lambda disk: disk.recent(limit), None)
        if on_disk is None:
            return await self._memory.recent(limit)
        ids = {known.intent_id for known in on_disk}
        unwritten = [known for known, _ in self._unwritten.values() if known.intent_id not in ids]
        return sorted([*on_disk, *unwritten], key=lambda known: -known.created_at)[:limit]

    async def latencies(self, model: str) -> list[float]:
        """See :class:`~nano_banana_mcp.generations.ledger.Ledger`."""
        return await self._try(lambda disk: disk.latencies(model), None) or await self._memory.latencies(model)

    async def unfinished(self) -> list[Generation]:
        """All whose end is not known, oldest first."""
        return await self._try(lambda disk: disk.unfinished(), [])

    async def aclose(self) -> None:
        """Write what is not written yet, if it can be, and close the file."""
        if self._unwritten:
            await self._try(lambda disk: None, None)
        if self._disk is not None:
            await anyio.to_thread.run_sync(self._disk.close, limiter=self._one_at_a_time)
            self._disk = None

    async def _try(self, work: Callable[[SqliteLedger], T], otherwise: T) -> T:
        """Work on the disk in a thread, to the end even if the caller goes; ``otherwise`` where the disk fails."""
        with anyio.CancelScope(shield=True):
            try:
                result = await anyio.to_thread.run_sync(self._work, work, limiter=self._one_at_a_time)
            except LedgerError as error:
                if self.problem != str(error):
                    logger.warning("%s Pictures made now are known only while this server runs.", error)
                self.problem = str(error)
                return otherwise
        if self.problem is not None:
            logger.warning("The ledger can be used again.")
            self.problem = None
        return result

    def _work(self, work: Callable[[SqliteLedger], T]) -> T:
        if self._disk is None:
            from nano_banana_mcp.generations.sqlite import SqliteLedger

            self._disk = SqliteLedger(self._folder)
            if self._prune is not None:
                self._prune(self._disk)
        for intent_id, (generation, pictures) in list(self._unwritten.items()):
            self._disk.save(generation, pictures)
            self._unwritten.pop(intent_id, None)
        return work(self._disk)
