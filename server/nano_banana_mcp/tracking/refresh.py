"""Asks the API about a task, and writes down what it says; and what follows when the API calls back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import anyio
from anyio.abc import TaskGroup

from nano_banana_mcp.common.supervise import in_words, supervise
from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import TaskNotFound
from nano_banana_mcp.generations.instrumentation import Instrumentation, Why
from nano_banana_mcp.generations.models import Generation, new_generation_id, read
from nano_banana_mcp.generations.quotas import Accounts
from nano_banana_mcp.ledger.base import Ledger
from nano_banana_mcp.service.submission import honest
from nano_banana_mcp.tracking.callbacks import GRACE_SECONDS, CallbackTracker

logger = logging.getLogger(__name__)

NOT_FOUND_GRACE_SECONDS = 60.0
"""A task that was just made is often "not found" for some seconds (seen in three public clients)."""

NO_SUCH_TASK = "This server knows no such task of yours."

Told = Callable[[Generation], None]


class TaskRefresher:
    """The one way to learn of a task's state, whoever wants to know.

    Args:
        tasks: Where what follows a callback runs.
        tell: Hands a state to whoever waits for the task.
        changed: Told each generation whose state has changed.
        keep: Told each generation that has ended.
        reconsider: Called when waits should think again about when to ask.
        now: Wall-clock time, Unix seconds.
    """

    def __init__(
        self,
        client: DefapiClient,
        ledger: Ledger,
        accounts: Accounts,
        callbacks: CallbackTracker,
        telemetry: Instrumentation,
        tasks: TaskGroup,
        *,
        tell: Told,
        changed: Told,
        keep: Told,
        reconsider: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._accounts = accounts
        self._callbacks = callbacks
        self._telemetry = telemetry
        self._tasks = tasks
        self._tell = tell
        self._changed = changed
        self._keep = keep
        self._reconsider = reconsider
        self._now = now

    async def known(self, public_id: str, principal: str) -> Generation:
        """What is known of a caller's task; one that was made elsewhere is taken up.

        Raises:
            TaskNotFound: there is no such task, or it is somebody else's.
        """
        known = await self._ledger.find(public_id)
        if known is not None and known.principal == principal:
            return honest(known)
        if self._accounts.asked:  # the API cannot tell whose it is: all use the same key
            raise TaskNotFound(NO_SUCH_TASK, hint="Check the task_id: it is the one that generate_image gave you.")
        # Made elsewhere: the API may know it.
        return Generation(new_generation_id(), task_id=public_id, principal=principal, created_at=self._now())

    async def ask(self, known: Generation, why: Why = "poll", told_at: float | None = None) -> Generation:
        """One query, and what it says written down. Where a callback has told of the end, ``told_at`` is when.

        Raises:
            DefapiError: the API could not be asked, or knows no such task.
        """
        if known.task_id is None:
            # A callback, or another process, may have settled it.
            return await self.known(known.generation_id, known.principal)
        try:
            with self._telemetry.querying(known):
                snapshot = await self._client.query(known.task_id, key=self._accounts.key_of(known.principal))
        except TaskNotFound:
            elapsed = known.elapsed_seconds(self._now())
            if elapsed is not None and elapsed < NOT_FOUND_GRACE_SECONDS:
                return known
            raise
        current = await self._ledger.find(known.task_id) or known
        if current.finished:  # another query has seen the end while this one was on its way
            return current
        reading = read(current, snapshot, self._now())
        latest = reading.generation
        if latest.finished and told_at is not None:
            latest = replace(latest, open_at=told_at)
            if not reading.encoded_images:  # whose bytes are only in the ledger
                self._tell(latest)  # before it is on disk, since it can always be asked for again
        await self._ledger.save(latest, reading.encoded_images)
        if latest.status is not current.status:
            self._changed(latest)
        self._telemetry.seen(latest, why)
        if latest.finished:
            if self._callbacks.ended(latest.generation_id):
                self._tasks.start_soon(supervise, "missing a callback", partial(self._settle, latest.generation_id))
            self._keep(latest)
            logger.info(
                "task %s ended: %s, %s credits",
                latest.task_id,
                latest.status,
                latest.credits_consumed,
                extra={"task_id": latest.task_id},
            )
        return latest

    async def called_back(self, generation_id: str, task_id: str) -> bool:
        """The API says that a task of this intent has ended: ask it. Returns whether there is such an intent.

        It settles an unknown outcome, if the API knows the task. However many callbacks come for one intent, they
        lead to at most one query in
        :data:`~nano_banana_mcp.tracking.callbacks.SPACING_SECONDS`.
        """
        known = await self._ledger.find(generation_id)
        if known is None or known.task_id not in (None, task_id):
            return False
        if known.finished:
            self._callbacks.came_late(generation_id)
            self._telemetry.called_back(known, "late")
            return True
        pause = self._callbacks.came(generation_id)
        self._telemetry.called_back(known, "accepted" if pause == 0 else "repeated")
        if pause is not None:
            look = partial(self._look_after_callback, generation_id, task_id, pause)
            self._tasks.start_soon(supervise, "looking after a callback", look)
        return True

    async def _look_after_callback(self, generation_id: str, task_id: str, pause: float) -> None:
        await anyio.sleep(pause)
        told_at = self._now()
        try:
            known = await self._ledger.find(generation_id)
            if known is not None and known.task_id is None:
                with self._telemetry.querying(known):
                    # A task that the API does not know settles nothing.
                    await self._client.query(task_id, key=self._accounts.key_of(known.principal))
                known = await self.claim(generation_id, task_id)
            if known is None or known.finished:
                return
            latest = await self.ask(known, told_at=told_at)
        except Exception as error:  # noqa: BLE001 - the edge of this task: polling takes over
            logger.warning("after a callback for %s: %s", task_id, in_words(error), extra={"task_id": task_id})
            self._callbacks.did_not_end(generation_id)
            self._reconsider()
            return
        if not latest.finished:
            self._callbacks.did_not_end(generation_id)
        self._tell(latest)

    async def claim(self, generation_id: str, task_id: str) -> Generation | None:
        """Settle an unknown outcome: the API has named the task that our intent led to."""
        known = await self._ledger.find(generation_id)
        if known is None or known.task_id is not None:
            return known
        claimed = known.accepted(task_id, self._now())
        await self._ledger.save(claimed)
        self._changed(claimed)
        logger.info("task %s claimed for an intent of unknown outcome", task_id, extra={"task_id": task_id})
        return claimed

    async def _settle(self, generation_id: str) -> None:
        await anyio.sleep(GRACE_SECONDS)
        self._callbacks.settle(generation_id)
