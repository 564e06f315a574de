"""The ledger of several replicas: in PostgreSQL, with leases, and with wake-ups, which are never the truth itself."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import cast

import anyio
import psycopg

from nano_banana_mcp.common.supervise import in_words, log_exceptions
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.quotas import Check
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger.async_ledger import DurableLedger, T
from nano_banana_mcp.ledger.base import MAX_GENERATIONS, Changed, LedgerBusy, LedgerError, without_look
from nano_banana_mcp.ledger.leases import HEARTBEAT_SECONDS, Leases
from nano_banana_mcp.ledger.postgres import CHANNEL, PostgresLedger
from nano_banana_mcp.ledger.postgres_connection import Database
from nano_banana_mcp.ledger.queries import SqlLedger


class SharedLedger(DurableLedger):
    """A :class:`DurableLedger` that others write to as well.

    So its memory answers only for what never changes again, and for what is not written yet. Where the database is
    away, nothing new is begun: what nobody can count or find again must not be paid for.

    Args:
        url: ``postgresql://…``
    """

    shared = True
    _MEANWHILE = "Nothing new is sent until it can be; what is under way is written then."

    def __init__(self, url: str, prune: Callable[[SqlLedger], object] | None = None) -> None:
        self._database = Database(url)
        self._leases = Leases()
        super().__init__(partial(PostgresLedger, self._database, self._leases), prune)

    async def begin(self, intent: Generation, check: Check | None = None) -> Generation:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        try:
            written = await self._on_disk(lambda disk: disk.begin(intent, check), writes=True)
        except LedgerError as error:
            raise LedgerBusy(str(error)) from error
        await self._memory.save(written)
        return written

    async def save(self, generation: Generation, encoded_images: dict[int, EncodedImage] | None = None) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        if self._written.get(generation.generation_id) == without_look(generation):
            await self._memory.save(generation)
            return

        def write(disk: SqlLedger) -> Generation | None:
            disk.save(generation, encoded_images)
            return disk.find(generation.public_id) if generation.finished else None

        try:
            stands = await self._on_disk(write, writes=True)
        except LedgerError:
            await self._memory.save(generation, encoded_images)
            self._unwritten[generation.generation_id] = (generation, encoded_images)
            return
        await self._memory.save(stands or generation)  # another replica may have seen an end before
        if len(self._written) > MAX_GENERATIONS:  # of tasks whose end another replica saw
            self._written.clear()
        self._written.pop(generation.generation_id, None)
        if not generation.finished:
            self._written[generation.generation_id] = without_look(generation)

    async def find(self, public_id: str) -> Generation | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        known = await self._memory.find(public_id)
        if known is not None and self._is_final_here(known):
            return known
        try:
            found = await self._on_disk(lambda disk: disk.find(public_id))
        except LedgerError as error:
            if known is None:
                raise LedgerBusy(str(error)) from error
            return known
        return None if found is None else await self._remembered(found)

    async def find_request(self, request_id: str, api: str | None, principal: str = "") -> Generation | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        known = await self._memory.find_request(request_id, api, principal)
        if known is not None and self._is_final_here(known):
            return known
        found = await self._on_disk(lambda disk: disk.find_request(request_id, api, principal))
        return None if found is None else await self._remembered(found)

    async def lease(self, generation_id: str) -> bool:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`. Where the database is away, each asks for itself:
        asking costs nothing, and an end that nobody sees does."""
        if self._leases.holds(generation_id):
            return True
        try:
            return await self._on_database(lambda disk: disk.take(generation_id))
        except LedgerError:
            return True

    async def release(self, generation_id: str) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        with contextlib.suppress(LedgerError):
            await self._on_database(lambda disk: disk.release(generation_id))

    async def follow(self, changed: Changed) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`. Keeps the leases meanwhile."""

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._live)
            await listen(self._database, self._leases.holder, changed)

    async def aclose(self) -> None:
        """Let others take the leases, write what is not written yet, if it can be, and close the connection."""
        if self._leases.alive:
            with contextlib.suppress(LedgerError):
                await self._on_database(lambda disk: disk.leave())
        await super().aclose()

    async def _live(self) -> None:
        """Heartbeats. They also write what an outage kept from being written, and tell :attr:`problem` what is."""
        while True:
            with log_exceptions("the heartbeat"), contextlib.suppress(LedgerError):
                await self._on_database(lambda disk: disk.renew(), writes=True)
            await anyio.sleep(HEARTBEAT_SECONDS)

    async def _on_database(self, work: Callable[[PostgresLedger], T], *, writes: bool = False) -> T:
        return await self._on_disk(cast("Callable[[SqlLedger], T]", work), writes=writes)

    def _is_final_here(self, known: Generation) -> bool:
        return known.finished or known.generation_id in self._unwritten

    async def _remembered(self, found: Generation) -> Generation:
        """``found``, with the time of our own last look, which alone is not written; kept for an outage."""
        known = await self._memory.find(found.generation_id)
        if known is not None and not found.finished and known.task_id == found.task_id:
            looks = [look for look in (known.open_at, found.open_at) if look is not None]
            found = replace(found, open_at=max(looks, default=None))
        await self._memory.save(found)
        return found


logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 5.0


async def listen(database: Database, holder: str, changed: Changed) -> None:
    """Tell of every change that is not ``holder``'s own, for as long as this runs; after each time that nobody
    listened, tell that anything may have changed."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(autocommit=True, **database.parameters)
            async with connection:
                await connection.execute(f"LISTEN {CHANNEL}".encode())
                await changed(None)
                pause = FIRST_PAUSE_SECONDS
                async for notice in connection.notifies():
                    by, _, generation_id = notice.payload.partition(" ")
                    if by != holder:
                        await changed(generation_id)
        except psycopg.Error as error:
            logger.info("not listening for other replicas: %s", type(error).__name__)
        except Exception as error:  # noqa: BLE001 - the edge of this task: nothing in it may end the server
            logger.warning("not listening for other replicas: %s", in_words(error))
        await anyio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that replicas do not return in step
        pause = min(2 * pause, MAX_PAUSE_SECONDS)
