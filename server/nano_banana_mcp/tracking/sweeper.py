"""Asks about tasks that nobody waits for, so that every one ends here too, whoever has gone or died.

It is calm: whoever wants to know sooner waits, and a callback tells sooner still. Of several servers on one ledger, one
asks about a task, and the others hear of it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio
from anyio.abc import TaskGroup

from nano_banana_mcp.common.supervise import log_exceptions, supervise
from nano_banana_mcp.defapi.errors import DefapiError
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.ledger.base import Ledger, LedgerError

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 4.0
TIDY_SECONDS = 3_600.0
OLDEST_SECONDS = 86_400.0
"""What has no end after so long is left to whoever asks for it."""

FIRST_SECONDS = 20.0
MIN_INTERVAL_SECONDS, MAX_INTERVAL_SECONDS = 10.0, 20.0
PATIENT_SECONDS = 600.0
"""From here on, intervals grow: a quarter of what has passed since then."""

FIRST_SECONDS_WITH_CALLBACK = 90.0
MAX_AT_A_TIME = 8


def due(elapsed: float, since_last: float | None, *, told: bool) -> bool:
    """Whether it is time to ask.

    Args:
        elapsed: Seconds since the submit.
        since_last: Seconds since it was last asked here; None if it never was.
        told: Whether a callback is relied on to tell the end.
    """
    if since_last is None:
        return elapsed >= (FIRST_SECONDS_WITH_CALLBACK if told else FIRST_SECONDS)
    interval = min(MAX_INTERVAL_SECONDS, max(MIN_INTERVAL_SECONDS, elapsed / 4))
    return since_last >= max(interval, (elapsed - PATIENT_SECONDS) / 4)


class OpenTaskSweeper:
    """Looks after the open tasks of the ledger.

    Args:
        look: Asks the API about one, and writes down what it says.
        in_care: Whether somebody here waits for it, or another API made it.
        told: Whether a callback is relied on to tell its end.
        now: Wall-clock time, Unix seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        look: Callable[[Generation], Awaitable[object]],
        in_care: Callable[[Generation], bool],
        told: Callable[[str], bool],
        now: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._look = look
        self._in_care = in_care
        self._told = told
        self._now = now
        self._asked_at: dict[str, float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        with log_exceptions("probing the ledger"):
            await self._ledger.probe()
        tidied_at = anyio.current_time()  # with its opening
        while True:
            await anyio.sleep(SWEEP_SECONDS)
            with log_exceptions("looking after tasks that nobody waits for"):
                await self.sweep()
            if anyio.current_time() - tidied_at >= TIDY_SECONDS:
                tidied_at = anyio.current_time()
                with log_exceptions("tidying the ledger"):
                    await self._ledger.tidy()

    async def sweep(self) -> None:
        """Ask about all that are due."""
        opened = await self._ledger.open_tasks(self._now() - OLDEST_SECONDS)
        ids = {known.generation_id for known in opened}
        self._asked_at = {generation_id: at for generation_id, at in self._asked_at.items() if generation_id in ids}
        places = anyio.Semaphore(MAX_AT_A_TIME)
        async with anyio.create_task_group() as tasks:
            for known in opened:
                with log_exceptions("looking after a task that nobody waits for"):
                    if not self._in_care(known) and self._due(known):
                        await places.acquire()
                        tasks.start_soon(self._ask, known, places)

    def _due(self, known: Generation) -> bool:
        last = self._asked_at.get(known.generation_id)
        since_last = None if last is None else anyio.current_time() - last
        elapsed = known.elapsed_seconds(self._now()) or 0.0
        if self._now() < (known.submitted_at or 0.0):  # the wall clock was put back: its age is not known
            elapsed = FIRST_SECONDS_WITH_CALLBACK
        return due(elapsed, since_last, told=self._told(known.generation_id))

    async def _ask(self, known: Generation, places: anyio.Semaphore) -> None:
        try:
            self._asked_at[known.generation_id] = anyio.current_time()
            with log_exceptions("asking for a task that nobody waits for"):
                await self._look_calmly(known)
        finally:
            places.release()

    async def _look_calmly(self, known: Generation) -> None:
        try:
            await self._look(known)
        except (DefapiError, LedgerError) as error:
            logger.info("a task that nobody waits for could not be asked for: %r", error)


Ask = Callable[[Generation], Awaitable[Generation]]

TRY_AGAIN_SECONDS = 4.0
"""How often a replica looks whether it can take over a task that it waits for."""


class Replicas:
    """What this server does because there may be others. Without others, it is in nobody's way.

    Args:
        ask: Asks the API about a task.
        changed: Told what another replica has learned of a task that is waited for here.
        curious: Whether somebody here wants to hear of any task.
    """

    def __init__(
        self,
        ledger: Ledger,
        ask: Ask,
        changed: Callable[[Generation], None],
        curious: Callable[[], bool] = lambda: False,
    ) -> None:
        self._ledger = ledger
        self._ask = ask
        self._changed = changed
        self._curious = curious
        self._here: Counter[str] = Counter()
        self._tasks: TaskGroup | None = None

    async def ask(self, known: Generation) -> Generation:
        """Ask the API about a task, or read in the ledger what the replica that has its lease has seen."""
        while self._is_ours(known) and not await self._ledger.lease(known.generation_id):
            latest = await self._ledger.find(known.generation_id)
            if latest is None:
                break
            if latest.status is not known.status:
                return latest
            await anyio.sleep(TRY_AGAIN_SECONDS)
        return await self._ask(known)

    async def alone(self, ask: Ask, known: Generation) -> None:
        """Ask about a task that nobody waits for, unless another replica has its lease."""
        if not self._is_ours(known):
            await ask(known)
        elif await self._ledger.lease(known.generation_id):
            try:
                await ask(known)
            finally:  # where this is cancelled, the lease runs out by itself
                await self._let_go(known.generation_id)

    @asynccontextmanager
    async def waited_for(self, known: Generation) -> AsyncIterator[Generation]:
        """Heed what others learn of it within the block, which is handed what they have learned until now."""
        if not self._ledger.shared or known.finished:
            yield known
            return
        generation_id = known.generation_id
        self._here[generation_id] += 1
        try:
            yield await self._ledger.find(generation_id) or known
        finally:
            self._here[generation_id] -= 1
            if not self._here[generation_id]:
                del self._here[generation_id]
                if self._tasks is not None:
                    self._tasks.start_soon(supervise, "letting go of a task", partial(self._let_go, generation_id))

    async def follow(self) -> None:
        """Heed what others change, for as long as this runs."""
        if not self._ledger.shared:
            return
        async with anyio.create_task_group() as self._tasks:
            await self._ledger.follow(self.changed_elsewhere)

    async def changed_elsewhere(self, generation_id: str | None) -> None:
        """Another replica has changed this generation; None: they may have changed any."""
        for each in list(self._here) if generation_id is None else [generation_id]:
            if each not in self._here and not self._curious():
                continue
            with log_exceptions("heeding another replica"), suppress(LedgerError):  # the next look will see it
                latest = await self._ledger.find(each)
                if latest is not None:
                    self._changed(latest)

    async def _let_go(self, generation_id: str) -> None:
        if generation_id not in self._here:
            await self._ledger.release(generation_id)

    def _is_ours(self, known: Generation) -> bool:
        """Whether it is a task of the ledger's own: of any other there is no row to be leased."""
        return self._ledger.shared and known.task_id is not None and known.submitted_at is not None
