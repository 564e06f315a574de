"""The ledger that a server uses: queries in threads, and writes that failed are retried."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread

from nano_banana_mcp.generations.batches import callers_request_id
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.quotas import Check, Usage
from nano_banana_mcp.generations.uploads import Upload, UploadRequest
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger.base import Changed, ModelMedians, ModelUsage
from nano_banana_mcp.ledger.errors import LedgerBusy, LedgerError
from nano_banana_mcp.ledger.queries import SqlLedger
from nano_banana_mcp.ledger.sqlite import SqliteLedger

logger = logging.getLogger(__name__)

T = TypeVar("T")

PROBE_SECONDS = 5.0
"""A probe within this time after a write does not write again."""

RETRY_SECONDS = 5.0
"""Pause between two retries of pending writes while :meth:`DurableLedger.follow` runs."""

BUILD_INTERVAL_SECONDS = 300.0
"""Pause between two looks at what the indexes of the ledger lack."""

STEP_PAUSE_SECONDS = 0.1
"""Pause between two steps of a build, for other processes."""

READ_ONLY = "The ledger cannot be written: its file or its folder is read-only."

STILL_RECORDED = (
    "The ledger cannot be written: a refused request with this request_id could not be removed from it yet."
)

NOTHING_NEW_IS_SENT = (
    "No new image is requested until it can be written, so that no paid image is lost. Images that are already paid "
    "for are recorded as soon as it can."
)

NOT_DURABLE = (
    "Generations are recorded in memory only: when this server ends, images paid for until then are no longer found "
    "by their task id, and a repeated request_id is paid for again. Save the images you need, correct the state "
    "folder (NANO_BANANA_STATE_DIR), and start the server again."
)


class DurableLedger:
    """A :class:`~nano_banana_mcp.ledger.base.Ledger` in a database that outlives the process.

    Args:
        where: The state folder; None for memory; or a function that opens another database. It is called in a
            thread, with the first use.
        prune: Called with the open database, and again by :meth:`tidy`.
        memory_fallback: Whether to record in memory if the database cannot be written when it is first opened;
            :attr:`problem` then says what that means. Otherwise every method raises.
    """

    _MAX_THREADS = 1
    """Queries that may run at the same time."""

    def __init__(
        self,
        where: Path | Callable[[], SqlLedger] | None,
        prune: Callable[[SqlLedger], object] | None = None,
        *,
        memory_fallback: bool = False,
    ) -> None:
        self._open: Callable[[], SqlLedger] = where if callable(where) else partial(SqliteLedger, where)
        self._prune = prune
        self._memory_fallback = memory_fallback
        self._database: SqlLedger | None = None
        self._threads = anyio.CapacityLimiter(self._MAX_THREADS)
        self._opening = threading.Lock()
        self._pending: dict[str, Generation | None] = {}
        """Writes that failed, by generation id; None for a deletion."""
        self._written_at = float("-inf")
        self._probing = anyio.Lock()
        self._permanent_problem: str | None = None
        self.problem: str | None = None
        self.stores_images = False

    async def begin(self, generation: Generation, check: Check | None = None) -> Generation:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        recorded = await self._write(lambda database: database.begin(generation, check))
        self._require_current(recorded)
        return recorded

    async def begin_batch(self, generations: Sequence[Generation], check: Check | None = None) -> list[Generation]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        recorded = await self._write(lambda database: database.begin_batch(generations, check))
        self._require_current(recorded[0])
        return recorded

    async def claim(self, generation: Generation) -> Generation | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return await self._write(lambda database: database.claim(generation))

    async def cancel_unsent(self, generation: Generation) -> bool:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return await self._write(lambda database: database.cancel_unsent(generation))

    async def save(self, generation: Generation) -> Generation:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        generation_id = generation.generation_id
        pending = self._pending.get(generation_id)
        newest = _newest(pending, generation)
        try:
            recorded = await self._write(lambda database: database.save(newest), replaces=generation_id)
        except LedgerError:
            self._pending[generation_id] = newest = _newest(self._pending.get(generation_id), newest)
            return newest
        if self._pending.get(generation_id) not in (None, pending):  # another write has failed meanwhile
            return await self.save(newest)
        self._pending.pop(generation_id, None)
        return recorded

    async def amend(self, generation: Generation) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        await self._write(lambda database: database.amend(generation))

    async def forget(self, generation_id: str) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        pending = self._pending.get(generation_id)
        try:
            await self._write(lambda database: database.forget(generation_id), replaces=generation_id)
        except LedgerError:
            self._pending[generation_id] = None
        else:
            self._drop_pending(generation_id, pending)

    async def forget_batch(self, generations: Sequence[Generation]) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        with contextlib.suppress(LedgerError):
            await self._write(lambda database: database.forget_batch(generations))

    async def find(self, public_id: str, principal: str | None = None) -> Generation | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        pending = [generation for generation in self._pending.values() if generation is not None]
        for generation in pending:
            if public_id in (generation.generation_id, generation.task_id) and principal in (
                None,
                generation.principal,
            ):
                return generation
        return self._with_pending(await self._read(lambda database: database.find(public_id, principal)))

    async def find_request(self, request_id: str, api: str | None, principal: str = "") -> Generation | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        for generation in self._pending.values():
            if generation is None or (generation.api, generation.principal) != (api, principal):
                continue
            if request_id in (generation.request_id, callers_request_id(generation)):
                return generation
        return self._with_pending(await self._read(lambda database: database.find_request(request_id, api, principal)))

    async def find_batch(self, batch_id: str, principal: str | None = None) -> list[Generation]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return self._all_with_pending(await self._read(lambda database: database.find_batch(batch_id, principal)))

    async def find_image(self, url: str, principal: str = "") -> Generation | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        for generation in self._pending.values():
            if generation is None or generation.principal != principal:
                continue
            if any(image.url == url for image in generation.images):
                return generation
        return await self._read(lambda database: database.find_image(url, principal))

    async def recent(self, limit: int, principal: str = "", search: str | None = None) -> list[Generation]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return self._all_with_pending(await self._read(lambda database: database.recent(limit, principal, search)))

    async def open_tasks(self, since: float) -> list[Generation]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        generations = self._all_with_pending(await self._read(lambda database: database.open_tasks(since)))
        return [generation for generation in generations if not generation.finished]

    async def succeeded_since(self, since: float) -> list[Generation]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return await self._read(lambda database: database.succeeded_since(since))

    async def medians(self, model: str, api: str | None) -> ModelMedians:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return await self._read(lambda database: database.medians(model, api))

    async def usage(self, principal: str | None, api: str | None, now: float, since: float | None = None) -> Usage:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return await self._read(lambda database: database.usage(principal, api, now, since))

    async def model_usage(self, principal: str, api: str | None) -> list[ModelUsage]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return await self._read(lambda database: database.model_usage(principal, api))

    async def save_image(self, generation_id: str, number: int, image: EncodedImage) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        await self._write(lambda database: database.save_image(generation_id, number, image))

    async def load_image(self, generation_id: str, number: int) -> EncodedImage | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return await self._read(lambda database: database.load_image(generation_id, number))

    async def save_upload_request(self, request: UploadRequest) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        await self._write(lambda database: database.save_upload_request(request))

    async def find_upload_request(self, upload_id: str, principal: str) -> UploadRequest | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return await self._read(lambda database: database.find_upload_request(upload_id, principal))

    async def find_grant(self, grant: str) -> UploadRequest | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return await self._read(lambda database: database.find_grant(grant))

    async def add_upload(
        self, upload: Upload, data: bytes, now: float, check: Callable[[int], None], today: float
    ) -> bool:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return await self._write(lambda database: database.add_upload(upload, data, now, check, today))

    async def count_uploads(self, principal: str, since: float) -> int:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return await self._read(lambda database: database.count_uploads(principal, since))

    async def uploads_for(self, upload_id: str) -> list[Upload]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return await self._read(lambda database: database.uploads_for(upload_id))

    async def find_upload(self, reference_id: str) -> Upload | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return await self._read(lambda database: database.find_upload(reference_id))

    async def load_upload(self, reference_id: str) -> bytes | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return await self._read(lambda database: database.load_upload(reference_id))

    async def save_piece(self, upload_id: str, image: int, piece: int, data: bytes, max_bytes: int) -> bool:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return await self._write(lambda database: database.save_piece(upload_id, image, piece, data, max_bytes))

    async def take_pieces(self, upload_id: str, image: int) -> dict[int, bytes]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return await self._write(lambda database: database.take_pieces(upload_id, image))

    async def follow(self, changed: Changed) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`. Retries pending writes meanwhile."""
        await self._retry_pending()

    async def acquire_sweep_lock(self) -> bool:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return True

    async def probe(self) -> str | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`. Writes only if nothing was written within
        :data:`PROBE_SECONDS`."""
        async with self._probing:
            if anyio.current_time() - self._written_at >= PROBE_SECONDS:
                with contextlib.suppress(LedgerError):
                    await self._write(lambda database: database.probe())
        return self.problem

    async def tidy(self) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        prune = self._prune
        if prune is not None:
            with contextlib.suppress(LedgerError):
                await self._write(prune)

    async def build_indexes(self) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        while True:
            await self.build_once()
            await anyio.sleep(BUILD_INTERVAL_SECONDS)

    async def build_once(self) -> None:
        """Build what the indexes lack now. What fails is built the next time."""
        await self._build(lambda database: database.build_sums())
        await self._build(lambda database: database.build_search())

    async def _build(self, step: Callable[[SqlLedger], bool]) -> None:
        """Run a step until there is nothing more to do."""
        work = partial(self._run, lambda database: not database.read_only and step(database))
        try:
            more = await self._in_thread(work)
            while more:
                await anyio.sleep(STEP_PAUSE_SECONDS)
                more = await self._in_thread(work)
        except LedgerError as error:
            logger.info("The indexes of the ledger are built later: %s", error.for_operator)

    async def aclose(self) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        if self._pending:
            with contextlib.suppress(LedgerError):
                await self._write(lambda database: None)
        if self._database is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._database.close, limiter=self._threads)
            self._database = None

    async def _retry_pending(self) -> None:
        while True:
            await anyio.sleep(RETRY_SECONDS)
            if self._pending:
                with contextlib.suppress(LedgerError):
                    await self._write(lambda database: database.probe())

    def _require_current(self, recorded: Generation) -> None:
        if self._pending.get(recorded.generation_id, recorded) is None:
            raise LedgerError(STILL_RECORDED)

    def _with_pending(self, generation: Generation | None) -> Generation | None:
        return None if generation is None else self._pending.get(generation.generation_id, generation)

    def _all_with_pending(self, generations: Iterable[Generation]) -> list[Generation]:
        current = [self._with_pending(generation) for generation in generations]
        return [generation for generation in current if generation is not None]

    async def _read(self, query: Callable[[SqlLedger], T]) -> T:
        return await self._in_thread(partial(self._run, query))

    async def _write(self, statement: Callable[[SqlLedger], T], *, replaces: str | None = None) -> T:
        """Write, after the pending writes but the one that this write replaces."""
        try:
            result = await self._in_thread(partial(self._run, statement, writes=True, replaces=replaces))
        except LedgerError as error:
            problem = f"{error} {NOTHING_NEW_IS_SENT}"
            if self.problem != problem:
                logger.warning("%s %s", error.for_operator, NOTHING_NEW_IS_SENT)
            self.problem = problem
            raise
        finally:
            self._written_at = anyio.current_time()
        is_pending = self._pending.keys() - {replaces}
        if self.problem != self._permanent_problem and not is_pending:
            logger.warning("The ledger can be written again.")
            self.problem = self._permanent_problem
        return result

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run in a thread, to the end even if the caller is cancelled."""
        with anyio.CancelScope(shield=True):
            result = await anyio.to_thread.run_sync(work, limiter=self._threads)
        return result  # noqa: RET504 - to a type checker, a cancel scope may suppress an exception

    def _run(self, work: Callable[[SqlLedger], T], *, writes: bool = False, replaces: str | None = None) -> T:
        with self._opening:
            database = self._opened()
        try:
            if writes:
                self._flush(database, except_for=replaces)
            return work(database)
        except LedgerBusy:
            raise
        except LedgerError:
            if not database.in_memory:
                with self._opening:  # another thread may have opened it again
                    if self._database is database:
                        self._database = None
                database.close()  # opened again with the next use: it may have been repaired or moved by then
            raise

    def _opened(self) -> SqlLedger:
        if self._database is not None and not self._database.still_there:
            logger.warning("The ledger's file was moved or deleted while this server runs. A new one is made.")
            self._database.close()
            self._database = None
        if self._database is None:
            self._database = self._opened_or_in_memory()
            self._memory_fallback = False
            self.stores_images = self._database.stores_images
            if self._prune is not None and not self._database.read_only:
                self._prune(self._database)
        return self._database

    def _opened_or_in_memory(self) -> SqlLedger:
        try:
            database = self._open()
        except LedgerBusy:
            raise
        except LedgerError as error:
            if not self._memory_fallback:
                raise
            return self._in_memory(SqliteLedger(None), error)
        if not self._memory_fallback or not isinstance(database, SqliteLedger):
            return database
        try:
            _check_writable(database)
        except LedgerBusy:
            database.close()
            raise
        except LedgerError as error:
            copy = database.copy_to_memory()
            database.close()
            return self._in_memory(copy, error)
        return database

    def _in_memory(self, database: SqlLedger, error: LedgerError) -> SqlLedger:
        logger.warning("%s %s", error.for_operator, NOT_DURABLE)
        self.problem = self._permanent_problem = f"{error} {NOT_DURABLE}"
        return database

    def _flush(self, database: SqlLedger, *, except_for: str | None) -> None:
        """Write what is pending, each by itself, so that one that still fails hinders no other.

        Raises:
            LedgerError: The database can only be read.
        """
        if database.read_only:
            raise LedgerError(READ_ONLY)
        for generation_id, generation in list(self._pending.items()):
            if generation_id == except_for:
                continue
            try:
                if generation is None:
                    database.forget(generation_id)
                else:
                    database.save(generation)
            except LedgerBusy:
                raise
            except LedgerError as error:
                logger.info("A pending write failed again: %s", error.for_operator)
            else:
                # In the event loop, where they change.
                anyio.from_thread.run_sync(self._drop_pending, generation_id, generation)

    def _drop_pending(self, generation_id: str, written: Generation | None) -> None:
        """Forget a pending write that was written, unless a newer one has replaced it meanwhile."""
        if self._pending.get(generation_id) == written:
            self._pending.pop(generation_id, None)


def _newest(pending: Generation | None, generation: Generation) -> Generation:
    """The state to record."""
    return generation if pending is None or generation.may_replace(pending) else pending


def _check_writable(database: SqlLedger) -> None:
    if database.read_only:
        raise LedgerError(READ_ONLY)
    database.probe()
