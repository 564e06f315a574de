"""Asks about tasks that nobody waits for, so that every one ends here too, whoever has gone or died.

It is calm: whoever wants to know sooner waits, and a callback tells sooner still.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

from nano_banana_mcp.defapi.errors import DefapiError
from nano_banana_mcp.generations.guard import guard
from nano_banana_mcp.generations.ledger import Ledger, LedgerError
from nano_banana_mcp.generations.models import Generation

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 4.0
TIDY_SECONDS = 3_600.0
OLDEST_SECONDS = 86_400.0
"""What has no end after so long is left to whoever asks for it."""

FIRST_SECONDS = 20.0
SHORTEST_INTERVAL_SECONDS, LONGEST_INTERVAL_SECONDS = 10.0, 20.0
PATIENT_SECONDS = 600.0
"""From here on, intervals grow: a quarter of what has passed since then."""

FIRST_SECONDS_WITH_CALLBACK = 90.0
MOST_AT_A_TIME = 8


def due(elapsed: float, since_last: float | None, *, told: bool) -> bool:
    """Whether it is time to ask.

    Args:
        elapsed: Seconds since the submit.
        since_last: Seconds since it was last asked here; None if it never was.
        told: Whether a callback is relied on to tell the end.
    """
    if since_last is None:
        return elapsed >= (FIRST_SECONDS_WITH_CALLBACK if told else FIRST_SECONDS)
    interval = min(LONGEST_INTERVAL_SECONDS, max(SHORTEST_INTERVAL_SECONDS, elapsed / 4))
    return since_last >= max(interval, (elapsed - PATIENT_SECONDS) / 4)


class Caretaker:
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
        with guard("probing the ledger"):
            await self._ledger.probe()
        tidied_at = anyio.current_time()  # with its opening
        while True:
            await anyio.sleep(SWEEP_SECONDS)
            with guard("looking after tasks that nobody waits for"):
                await self.sweep()
            if anyio.current_time() - tidied_at >= TIDY_SECONDS:
                tidied_at = anyio.current_time()
                with guard("tidying the ledger"):
                    await self._ledger.tidy()

    async def sweep(self) -> None:
        """Ask about all that are due."""
        opened = await self._ledger.open_tasks(self._now() - OLDEST_SECONDS)
        ids = {known.intent_id for known in opened}
        self._asked_at = {intent_id: at for intent_id, at in self._asked_at.items() if intent_id in ids}
        places = anyio.Semaphore(MOST_AT_A_TIME)
        async with anyio.create_task_group() as tasks:
            for known in opened:
                with guard("looking after a task that nobody waits for"):
                    if not self._in_care(known) and self._due(known):
                        await places.acquire()
                        tasks.start_soon(self._ask, known, places)

    def _due(self, known: Generation) -> bool:
        last = self._asked_at.get(known.intent_id)
        since_last = None if last is None else anyio.current_time() - last
        return due(known.elapsed_seconds(self._now()) or 0.0, since_last, told=self._told(known.intent_id))

    async def _ask(self, known: Generation, places: anyio.Semaphore) -> None:
        try:
            self._asked_at[known.intent_id] = anyio.current_time()
            with guard("asking for a task that nobody waits for"):
                await self._look_calmly(known)
        finally:
            places.release()

    async def _look_calmly(self, known: Generation) -> None:
        try:
            await self._look(known)
        except (DefapiError, LedgerError) as error:
            logger.info("a task that nobody waits for could not be asked for: %r", error)
