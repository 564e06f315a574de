"""Several servers on one ledger: one of them asks about a task, and the others hear of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio
from anyio.abc import TaskGroup

from nano_banana_mcp.generations.guard import guard, guarded
from nano_banana_mcp.generations.ledger import Ledger, LedgerError
from nano_banana_mcp.generations.models import Generation

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
        while self._is_ours(known) and not await self._ledger.lease(known.intent_id):
            latest = await self._ledger.find(known.intent_id)
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
        elif await self._ledger.lease(known.intent_id):
            try:
                await ask(known)
            finally:  # where this is cancelled, the lease runs out by itself
                await self._let_go(known.intent_id)

    @asynccontextmanager
    async def waited_for(self, known: Generation) -> AsyncIterator[Generation]:
        """Heed what others learn of it within the block, which is handed what they have learned until now."""
        if not self._ledger.shared or known.finished:
            yield known
            return
        intent_id = known.intent_id
        self._here[intent_id] += 1
        try:
            yield await self._ledger.find(intent_id) or known
        finally:
            self._here[intent_id] -= 1
            if not self._here[intent_id]:
                del self._here[intent_id]
                if self._tasks is not None:
                    self._tasks.start_soon(guarded, "letting go of a task", partial(self._let_go, intent_id))

    async def follow(self) -> None:
        """Heed what others change, for as long as this runs."""
        if not self._ledger.shared:
            return
        async with anyio.create_task_group() as self._tasks:
            await self._ledger.follow(self.changed_elsewhere)

    async def changed_elsewhere(self, intent_id: str | None) -> None:
        """Another replica has changed this generation; None: they may have changed any."""
        for each in list(self._here) if intent_id is None else [intent_id]:
            if each not in self._here and not self._curious():
                continue
            with guard("heeding another replica"), suppress(LedgerError):  # the next look will see it
                latest = await self._ledger.find(each)
                if latest is not None:
                    self._changed(latest)

    async def _let_go(self, intent_id: str) -> None:
        if intent_id not in self._here:
            await self._ledger.release(intent_id)

    def _is_ours(self, known: Generation) -> bool:
        """Whether it is a task of the ledger's own: of any other there is no row to be leased."""
        return self._ledger.shared and known.task_id is not None and known.submitted_at is not None
