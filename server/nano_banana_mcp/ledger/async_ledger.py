"""The ledger that a server uses: in a database, and in memory wherever that fails."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.quotas import Check
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger.base import LedgerBusy, LedgerError, MemoryLedger, OwnLedger, mentions, without_look

if TYPE_CHECKING:
    from nano_banana_mcp.ledger.queries import SqlLedger

logger = logging.getLogger(__name__)

T = TypeVar("T")

PROBE_SECONDS = 5.0
"""What was learned by writing is believed for so long."""


class DurableLedger(OwnLedger):
    """A :class:`~nano_banana_mcp.ledger.base.Ledger` that outlives the process.

    What this process has seen is also in memory, so that a disk that fails (full, read-only, a spoiled file)
    stops nothing: the trouble is logged and told by :attr:`problem`, and what could not be written is written
    with the next thing that can.

    Args:
        where: The state folder, or what opens another database; opened with the first use, in a thread.
        prune: Called with what was opened, and by :meth:`tidy`, to drop what the settings no longer want.
    """

    _MEANWHILE = "What is made now is known only while this server runs."

    def __init__(
        self, where: Path | Callable[[], SqlLedger], prune: Callable[[SqlLedger], object] | None = None
    ) -> None:
        self._open = partial(_open_file, where) if isinstance(where, Path) else where
        self._prune = prune
        self._disk: SqlLedger | None = None
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._memory = MemoryLedger(keeps_open=not self.shared)
        self._unwritten: dict[str, tuple[Generation, dict[int, EncodedImage] | None]] = {}
        self._written: dict[str, Generation] = {}
        self._unforgotten: set[str] = set()
        self._tried_at = float("-inf")
        self._probing = anyio.Lock()
        self.problem: str | None = None

    async def begin(self, intent: Generation, check: Check | None = None) -> Generation:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        try:
            written = await self._on_disk(lambda disk: disk.begin(intent, check), writes=True)
        except LedgerBusy:
            raise  # it will pass; until then nothing is paid for that a crash would lose
        except LedgerError:
            if intent.request_id is not None:
                raise  # after a restart, or in another process, nobody would know that it was made
            begun = await self._memory.begin(intent, check)
            if begun.generation_id == intent.generation_id:
                self._unwritten[intent.generation_id] = (intent, None)
            return begun
        if written.generation_id == intent.generation_id:
            await self._memory.save(intent)
        return written

    async def save(self, generation: Generation, encoded_images: dict[int, EncodedImage] | None = None) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        await self._memory.save(generation, encoded_images)
        if self._written.get(generation.generation_id) == without_look(generation):
            return
        try:
            await self._on_disk(lambda disk: disk.save(generation, encoded_images), writes=True)
        except LedgerError:
            self._unwritten[generation.generation_id] = (generation, encoded_images)
            return
        if generation.finished:
            self._written.pop(generation.generation_id, None)
        else:
            self._written[generation.generation_id] = without_look(generation)

    async def forget(self, generation_id: str) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        await self._memory.forget(generation_id)
        self._unwritten.pop(generation_id, None)
        try:
            await self._on_disk(lambda disk: disk.forget(generation_id), writes=True)
        except LedgerError:
            self._unforgotten.add(generation_id)

    async def find(self, public_id: str) -> Generation | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        known = await self._memory.find(public_id)
        # Of an unknown outcome another process, or a callback, may know more by now.
        if known is not None and known.task_id is not None:
            return known
        found = await self._read(lambda disk: disk.find(public_id), None) or known
        if found is not None and found.finished:
            await self._memory.save(found)  # it changes no more: nobody needs to ask the disk again
        return found

    async def find_request(self, request_id: str, api: str | None, principal: str = "") -> Generation | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        known = await self._memory.find_request(request_id, api, principal)
        if known is not None and known.task_id is not None:
            return known
        try:
            return await self._on_disk(lambda disk: disk.find_request(request_id, api, principal)) or known
        except LedgerError:
            if known is not None:
                return known
            raise

    async def find_image(self, url: str, principal: str = "") -> Generation | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        known = await self._memory.find_image(url, principal)
        return known or await self._read(lambda disk: disk.find_image(url, principal), None)

    async def encoded(self, generation_id: str, number: int) -> EncodedImage | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        kept = await self._memory.encoded(generation_id, number)
        return kept or await self._read(lambda disk: disk.encoded(generation_id, number), None)

    async def recent(self, limit: int, principal: str = "", search: str | None = None) -> list[Generation]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        on_disk = await self._read(lambda disk: disk.recent(limit, principal, search), None)
        if on_disk is None:
            return await self._memory.recent(limit, principal, search)
        ids = {known.generation_id for known in on_disk}
        own = (known for known, _ in self._unwritten.values() if known.principal == principal)
        unwritten = [known for known in own if known.generation_id not in ids and mentions(known, search)]
        return sorted([*on_disk, *unwritten], key=lambda known: -known.created_at)[:limit]

    async def open_tasks(self, since: float) -> list[Generation]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        on_disk = await self._read(lambda disk: disk.open_tasks(since), None)
        return await self._memory.open_tasks(since) if on_disk is None else on_disk

    async def latencies(self, model: str, api: str | None) -> list[float]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        seen = await self._read(lambda disk: disk.latencies(model, api), None)
        return seen or await self._memory.latencies(model, api)

    async def probe(self) -> str | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`. However often this is called, it writes only
        where nothing was written in the last :data:`PROBE_SECONDS`."""
        async with self._probing:
            if anyio.current_time() - self._tried_at >= PROBE_SECONDS:
                with contextlib.suppress(LedgerError):
                    await self._on_disk(lambda disk: disk.probe(), writes=True)
        return self.problem

    async def tidy(self) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`. What is gone from the disk, whoever dropped it,
        is forgotten here too."""
        held = {known.generation_id for known in self._memory.everything() if known.finished}
        ended = await self._read(self._tidied, None)
        if ended is not None:
            self._memory.forget_finished(held - ended.keys() - self._unwritten.keys())

    def _tidied(self, disk: SqlLedger) -> dict[str, float]:
        if self._prune is not None and not disk.read_only:
            self._prune(disk)
        return disk.ended()

    async def aclose(self) -> None:
        """Write what is not written yet, if it can be, and close the file."""
        if self._unwritten or self._unforgotten:
            await self._read(self._catch_up, None)
        if self._disk is not None:
            await anyio.to_thread.run_sync(self._disk.close, limiter=self._one_at_a_time)
            self._disk = None

    async def _read(self, work: Callable[[SqlLedger], T], otherwise: T) -> T:
        try:
            return await self._on_disk(work)
        except LedgerError:
            return otherwise

    async def _on_disk(self, work: Callable[[SqlLedger], T], *, writes: bool = False) -> T:
        """Work on the disk in a thread, to the end even if the caller goes."""
        with anyio.CancelScope(shield=True):
            try:
                result = await anyio.to_thread.run_sync(self._work, work, writes, limiter=self._one_at_a_time)
            except LedgerError as error:
                if self.problem != str(error):
                    logger.warning("%s %s", error.for_operator, self._MEANWHILE)
                self.problem = str(error)
                raise
            finally:
                if writes:
                    self._tried_at = anyio.current_time()
        if writes and self.problem is not None and not self._unwritten:
            logger.warning("The ledger can be used again.")
            self.problem = None
        return result

    def _work(self, work: Callable[[SqlLedger], T], writes: bool) -> T:
        disk = self._opened()

        def all_of_it() -> T:
            if writes and not disk.read_only:
                self._catch_up(disk)
            return work(disk)

        try:
            try:
                return all_of_it()
            except LedgerBusy:
                if not disk.lost:
                    raise
                return all_of_it()  # the connection may have died long ago, while it was idle
        except LedgerBusy:
            raise
        except LedgerError:
            # Opened afresh the next time: it may have been mended, or moved away, by then.
            disk.close()
            self._disk = None
            raise

    def _opened(self) -> SqlLedger:
        if self._disk is not None and not self._disk.still_there:
            logger.warning("The ledger was moved or deleted while this server runs. What it knows is written anew.")
            self._disk.close()
            self._disk = None
            self._written.clear()
            self._unwritten = {
                known.generation_id: (known, None) for known in self._memory.everything()
            } | self._unwritten
        if self._disk is None:
            self._disk = self._open()
            if self._prune is not None and not self._disk.read_only:
                self._prune(self._disk)
        return self._disk

    def _catch_up(self, disk: SqlLedger) -> None:
        """Write what could not be written before, each by itself: one that still cannot be is in nobody's way."""
        for generation_id, (generation, encoded_images) in list(self._unwritten.items()):
            with _but_busy_in_nobodys_way():
                disk.save(generation, encoded_images)
                self._unwritten.pop(generation_id, None)
        for generation_id in list(self._unforgotten):
            with _but_busy_in_nobodys_way():
                disk.forget(generation_id)
                self._unforgotten.discard(generation_id)


@contextlib.contextmanager
def _but_busy_in_nobodys_way() -> Iterator[None]:
    try:
        yield
    except LedgerBusy:
        raise  # so would all others be
    except LedgerError:
        pass


def _open_file(folder: Path) -> SqlLedger:
    from nano_banana_mcp.ledger.sqlite import SqliteLedger

    return SqliteLedger(folder)
