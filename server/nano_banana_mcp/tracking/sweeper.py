"""Notices what no call waits for: the ends of tasks, images that were not stored, changes of other processes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

from nano_banana_mcp.common.supervise import log_exceptions
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.uploads import UPLOAD_PREFIX
from nano_banana_mcp.ledger.base import Ledger, LedgerError
from nano_banana_mcp.media.image_store import ImageStore
from nano_banana_mcp.tracking.callbacks import CallbackTracker
from nano_banana_mcp.tracking.refresh import TaskRefresher
from nano_banana_mcp.tracking.schedule import Schedule
from nano_banana_mcp.tracking.waiter import TaskWaiter

logger = logging.getLogger(__name__)

SWEEP_INTERVAL_SECONDS = 4.0
TIDY_INTERVAL_SECONDS = 3_600.0
MAX_AGE_SECONDS = 86_400.0
"""Older unfinished tasks are queried only when a caller asks for them."""

MAX_CONCURRENT_QUERIES = 8

CATCH_UP_DELAY_SECONDS = 1.0
"""From the start to the first search for images that were not stored, so that it does not slow the first call."""

BUILD_DELAY_SECONDS = 2.0
"""From the start to the first step of building the indexes of the ledger, so that it does not slow the first call."""

CATCH_UP_INTERVAL_SECONDS = 3_600.0
CATCH_UP_AGE_SECONDS = 86_400.0
"""Age of an end up to which its images are stored later: URLs of older ones may be dead."""


class OpenTaskSweeper:
    """Queries the unfinished tasks of the ledger that no call waits for.

    With PostgreSQL, one of the processes on a ledger sweeps; with SQLite, each process does.

    Args:
        api: Only tasks of this API are queried.
        now: Wall-clock time, Unix seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        images: ImageStore,
        refresher: TaskRefresher,
        waiter: TaskWaiter,
        callbacks: CallbackTracker,
        *,
        api: str,
        now: Callable[[], float],
        schedule: Schedule | None = None,
    ) -> None:
        self._ledger = ledger
        self._images = images
        self._refresher = refresher
        self._waiter = waiter
        self._callbacks = callbacks
        self._api = api
        self._now = now
        self._schedule = schedule or Schedule()

    async def run(self) -> None:
        """Sweep until cancelled."""
        with log_exceptions("Checking the ledger"):
            await self._ledger.probe()
        tidied_at = anyio.current_time()  # opening the ledger tidies it
        while True:
            await anyio.sleep(SWEEP_INTERVAL_SECONDS)
            with log_exceptions("Querying unfinished tasks"):
                await self.sweep()
            if anyio.current_time() - tidied_at >= TIDY_INTERVAL_SECONDS:
                tidied_at = anyio.current_time()
                with log_exceptions("Tidying the ledger"):
                    await self._ledger.tidy()
                with log_exceptions("Tidying the image store"):
                    await self._images.tidy()

    async def sweep(self) -> None:
        """Query all tasks that are due, unless another process holds the sweep lock."""
        if not await self._ledger.acquire_sweep_lock():
            return
        generations = await self._ledger.open_tasks(self._now() - MAX_AGE_SECONDS)
        limiter = anyio.Semaphore(MAX_CONCURRENT_QUERIES)
        async with anyio.create_task_group() as tasks:
            for generation in generations:
                if self._is_ours(generation) and self._is_due(generation):
                    await limiter.acquire()
                    tasks.start_soon(self._refresh, generation, limiter)

    def _is_ours(self, generation: Generation) -> bool:
        is_reachable = generation.api in (self._api, None) and self._images.urls_can_work(generation)
        return is_reachable and not self._waiter.has_waiter(generation)

    def _is_due(self, generation: Generation) -> bool:
        elapsed = generation.elapsed_seconds(self._now()) or 0.0
        if self._now() < (generation.submitted_at or 0.0):  # the wall clock was put back: the age is not known
            elapsed = self._schedule.sweep_first_with_callback
        since_query = self._refresher.seconds_since_query(generation)
        expects_callback = self._callbacks.is_expected(generation)
        return self._schedule.sweep_pause(elapsed, since_query, expects_callback=expects_callback) <= 0

    async def _refresh(self, generation: Generation, limiter: anyio.Semaphore) -> None:
        try:
            with log_exceptions("Querying an unfinished task"):
                await self._refresher.refresh(generation, "look")
        finally:
            limiter.release()


class MissingImageSweeper:
    """Stores images whose end was recorded by a process that ended before storing them.

    Args:
        api: Only images of this API are stored.
        now: Wall-clock time, Unix seconds.
    """

    def __init__(self, ledger: Ledger, images: ImageStore, *, api: str, now: Callable[[], float]) -> None:
        self._ledger = ledger
        self._images = images
        self._api = api
        self._now = now

    async def run(self) -> None:
        """Sweep soon after the start and every hour until cancelled."""
        await anyio.sleep(CATCH_UP_DELAY_SECONDS)
        while True:
            with log_exceptions("Storing the images of earlier processes"):
                await self.sweep()
            await anyio.sleep(CATCH_UP_INTERVAL_SECONDS)

    async def sweep(self) -> None:
        """Start to store what is missing of the last day."""
        generations = await self._ledger.succeeded_since(self._now() - CATCH_UP_AGE_SECONDS)
        await self._images.store_missing([generation for generation in generations if generation.api == self._api])


class IndexBuilder:
    """Builds the search index and the sums of a large ledger, after the start."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def run(self) -> None:
        """Build until cancelled."""
        await anyio.sleep(BUILD_DELAY_SECONDS)
        await self._ledger.build_indexes()


class ReplicaFollower:
    """Publishes what other processes on the same ledger change.

    Args:
        reload_upload: Announces an upload by its id.
    """

    def __init__(
        self,
        ledger: Ledger,
        refresher: TaskRefresher,
        waiter: TaskWaiter,
        reload_upload: Callable[[str], Awaitable[None]],
    ) -> None:
        self._reload_upload = reload_upload
        self._ledger = ledger
        self._refresher = refresher
        self._waiter = waiter

    async def run(self) -> None:
        """Follow the ledger's notifications until cancelled."""
        await self._ledger.follow(self._reload)

    async def _reload(self, generation_id: str | None) -> None:
        """Reload one generation; with None, after notifications may have been lost, all that calls wait for."""
        for changed_id in self._waiter.waited_ids() if generation_id is None else [generation_id]:
            try:
                if changed_id.startswith(UPLOAD_PREFIX):
                    await self._reload_upload(changed_id)
                else:
                    await self._refresher.reload(changed_id)
            except LedgerError as error:
                logger.info("A change of another process could not be read: %s", error)
