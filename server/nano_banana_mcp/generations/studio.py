"""The use cases: generate, look, wait."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Self

import anyio
from anyio.abc import TaskGroup

from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import DefapiError, TaskNotFound
from nano_banana_mcp.defapi.wire import SubmitRequest
from nano_banana_mcp.generations.accounts import Accounts
from nano_banana_mcp.generations.album import Album
from nano_banana_mcp.generations.callbacks import Callbacks
from nano_banana_mcp.generations.caretaker import Caretaker
from nano_banana_mcp.generations.desk import Desk, Places
from nano_banana_mcp.generations.journal import hash_of, honest, in_words
from nano_banana_mcp.generations.ledger import Ledger
from nano_banana_mcp.generations.maker import Maker
from nano_banana_mcp.generations.models import Generation, new_intent_id, read
from nano_banana_mcp.generations.schedule import Pace, SafetyPace
from nano_banana_mcp.generations.telemetry import UNTOLD, Telemetry, Why
from nano_banana_mcp.generations.waiting import Report, Waited, Waiting, waiting_room

logger = logging.getLogger(__name__)

NOT_FOUND_GRACE_SECONDS = 60.0
"""A task that was just made is often "not found" for some seconds (seen in three public clients)."""

NO_SUCH_TASK = "This server knows no such task of yours."

CLOSING_SECONDS = 2.0


class Studio:
    """Makes pictures through the API. Made by :meth:`open`.

    Attributes:
        on_change: Told each generation whose state has changed.
        desk: Keeps its pictures on disk, and gets references ready.
    """

    desk: Desk

    _waiting: Waiting
    _tasks: TaskGroup
    _maker: Maker

    def __init__(
        self,
        client: DefapiClient,
        ledger: Ledger,
        *,
        trusted_origins: Sequence[str] = (),
        default_model: str,
        api: str,
        callback_for: Callable[[str], str] | None,
        accounts: Accounts,
        now: Callable[[], float],
        telemetry: Telemetry,
    ) -> None:
        self._client = client
        self.accounts = accounts
        self.album = Album(ledger, trusted_origins, now())
        self.ledger = ledger
        self.default_model = default_model
        self._api = api
        self._callbacks = Callbacks(callback_for)
        self.on_change: Callable[[Generation], None] = lambda generation: None
        self.now = now
        self._telemetry = telemetry

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        client: DefapiClient,
        ledger: Ledger,
        *,
        trusted_origins: Sequence[str] = (),
        default_model: str,
        api: str,
        callback_for: Callable[[str], str] | None = None,
        accounts: Accounts | None = None,
        care: bool = False,
        places: Places | None = None,
        now: Callable[[], float] = time.time,
        telemetry: Telemetry = UNTOLD,
    ) -> AsyncIterator[Self]:
        """A studio that works within the block; leaving it closes the connections and the ledger.

        Args:
            trusted_origins: Where pictures may be fetched from besides public hosts: the sandbox's own origin.
            api: What to call the API in the ledger.
            callback_for: Where the API should tell of the end of an intent, for requests that name no place.
            accounts: Who may use what; without, nobody is asked who they are.
            care: Whether to ask about tasks that nobody waits for, too.
            places: Which folders may be used; none by default.
            now: Wall-clock time, Unix seconds.
            telemetry: Told what happens.
        """
        studio = cls(
            client,
            ledger,
            trusted_origins=trusted_origins,
            default_model=default_model,
            api=api,
            callback_for=callback_for,
            accounts=accounts or Accounts(),
            now=now,
            telemetry=telemetry,
        )
        try:
            async with (
                anyio.create_task_group() as studio._tasks,
                waiting_room(studio._ask, studio._pace, now) as studio._waiting,
            ):
                studio._maker = Maker(client, ledger, studio._tasks, studio.accounts, now, telemetry)
                studio.desk = Desk(studio.album, places or Places(), studio.look, studio._tasks, now)
                if care:
                    studio._tasks.start_soon(studio._caretaker().run)
                yield studio
                with anyio.move_on_after(CLOSING_SECONDS):
                    await studio.desk.settled()
                studio._tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSING_SECONDS):
                await client.aclose()
                await studio.album.aclose()
                await ledger.aclose()

    async def generate(
        self,
        request: SubmitRequest,
        *,
        principal: str = "",
        request_id: str | None = None,
        wait_seconds: float = 0.0,
        report: Report | None = None,
    ) -> Waited:
        """Submit once, and wait at most ``wait_seconds`` for the picture.

        The intent is written down before anything is sent, and what became of it after; from the moment the
        request is sent, a cancelled caller stops neither. A request that was made before under the same
        ``request_id`` is not made again: the generation that it led to is handed back.

        Where the outcome of the submit is unknown, the generation is handed back in that state; so is one whose
        wait met trouble, so that its id is never lost.

        Raises:
            DefapiError: nothing was made.
            PictureError: a reference picture cannot be used.
            RequestIdTaken: ``request_id`` stands for another request.
            LimitReached: the caller may not make it now.
            LedgerError: it cannot be told whether ``request_id`` was used before, or nothing can be written for a
                passing reason; nothing was sent.
        """
        intent = Generation(
            new_intent_id(),
            model=request.model,
            prompt=request.prompt,
            api=self._api,
            options=in_words(request),
            principal=principal,
            request_id=request_id,
            request_hash=hash_of(request),
            created_at=self.now(),
        )
        if request.callback_url is None and (address := self._callbacks.address(intent.intent_id)):
            request = request.model_copy(update={"callback_url": address})
        generation = await self._maker.make_once(request, intent, lambda asked: self.desk.ready(asked, principal))
        self.on_change(generation)
        if wait_seconds <= 0 or generation.finished or generation.task_id is None:
            return Waited(generation, note=self.ledger.problem, kept=await self.desk.kept(generation))
        return await self._wait(generation, wait_seconds, report)

    async def settled(self) -> None:
        """Return when every submit that is under way is recorded, and every finished picture saved."""
        await self._client.settled()
        await self.desk.settled()

    def drain(self) -> None:
        """Let every wait end with the state as it is: the server is about to end."""
        self._waiting.drain()
        self.desk.drain()

    async def called_back(self, intent_id: str, task_id: str) -> bool:
        """The API says that a task of this intent has ended: ask it. Returns whether there is such an intent.

        It settles an unknown outcome, if the API knows the task. However many callbacks come for one intent, they
        lead to at most one query in
        :data:`~nano_banana_mcp.generations.callbacks.SPACING_SECONDS`.
        """
        known = await self.ledger.find(intent_id)
        if known is None or known.task_id not in (None, task_id):
            return False
        timely = self._callbacks.came(intent_id)
        self._telemetry.called_back(known, "late" if known.finished else "accepted" if timely else "repeated")
        if timely and not known.finished:
            self._tasks.start_soon(self._look_after_callback, intent_id, task_id)
        return True

    async def _look_after_callback(self, intent_id: str, task_id: str) -> None:
        try:
            known = await self.ledger.find(intent_id)
            if known is not None and known.task_id is None:
                with self._telemetry.querying(known):
                    # A task that the API does not know settles nothing.
                    await self._client.query(task_id, key=self.accounts.key_of(known.principal))
                await self.claim(intent_id, task_id)
            if known is not None:
                await self.look(intent_id, known.principal)
        except DefapiError as error:
            logger.warning("after a callback for %s: %r", task_id, error, extra={"task_id": task_id})

    async def claim(self, intent_id: str, task_id: str) -> Generation | None:
        """Settle an unknown outcome: the API has named the task that our intent led to."""
        known = await self.ledger.find(intent_id)
        if known is None or known.task_id is not None:
            return known
        claimed = known.accepted(task_id, self.now())
        await self.ledger.save(claimed)
        self.on_change(claimed)
        logger.info("task %s claimed for an intent of unknown outcome", task_id, extra={"task_id": task_id})
        return claimed

    async def look(self, handle: str, principal: str = "") -> Generation:
        """The state now: one query, none if the end is already known or the outcome of the submit is unknown.

        Raises:
            TaskNotFound: there is no such task, or it is somebody else's.
            DefapiError: the API could not be asked.
        """
        known = await self._known(handle, principal)
        if known.finished:
            return known
        latest = await self._ask(known, "look")
        self._waiting.tell(latest)
        return latest

    async def wait(self, handle: str, seconds: float, report: Report | None = None, principal: str = "") -> Waited:
        """Wait until the task ends, at most ``seconds``. One of our own that cannot be asked for any more (a refused
        key) is handed back with the trouble, given up.

        Raises:
            TaskNotFound: there is no such task, or it is somebody else's.
            DefapiError: a task made elsewhere cannot be asked for (a refused key, an unknown task).
        """
        return await self._wait(await self._known(handle, principal), seconds, report)

    async def _wait(self, known: Generation, seconds: float, report: Report | None) -> Waited:
        began = anyio.current_time()
        try:
            with self._telemetry.waiting():
                waited = await self._waiting.wait(known, seconds, report)
        except DefapiError as trouble:
            if known.submitted_at is None:
                raise
            waited = Waited(await self.ledger.find(known.handle) or known, trouble, given_up=True)
        kept = await self.desk.kept(waited.generation, seconds - (anyio.current_time() - began))
        return replace(waited, note=self.ledger.problem, kept=kept)

    def _caretaker(self) -> Caretaker:
        def in_care(known: Generation) -> bool:
            elsewhere = known.api not in (self._api, None) or not self.album.still_serves(known)
            return elsewhere or self._waiting.watches(known)

        async def look(known: Generation) -> None:
            await self.look(known.intent_id, known.principal)

        return Caretaker(self.ledger, look=look, in_care=in_care, told=self._callbacks.expected, now=self.now)

    async def _known(self, handle: str, principal: str) -> Generation:
        known = await self.ledger.find(handle)
        if known is not None and known.principal == principal:
            return honest(known)
        if self.accounts.asked:  # the API cannot tell whose it is: all use the same key
            raise TaskNotFound(NO_SUCH_TASK, hint="Check the task_id: it is the one that generate_image gave you.")
        # Made elsewhere: the API may know it.
        return Generation(new_intent_id(), task_id=handle, principal=principal, created_at=self.now())

    async def _pace(self, known: Generation) -> Pace:
        latencies = await self.ledger.latencies(known.model, self._api) if known.model else ()
        return SafetyPace(latencies) if self._callbacks.expected(known.intent_id) else Pace(latencies)

    async def _ask(self, known: Generation, why: Why = "poll") -> Generation:
        if known.task_id is None:
            # A callback, or another process, may have settled it.
            return await self._known(known.intent_id, known.principal)
        try:
            with self._telemetry.querying(known):
                snapshot = await self._client.query(known.task_id, key=self.accounts.key_of(known.principal))
        except TaskNotFound:
            elapsed = known.elapsed_seconds(self.now())
            if elapsed is not None and elapsed < NOT_FOUND_GRACE_SECONDS:
                return known
            raise
        current = await self.ledger.find(known.task_id) or known
        if current.finished:  # another query has seen the end while this one was on its way
            return current
        reading = read(current, snapshot, self.now())
        latest = reading.generation
        await self.ledger.save(latest, reading.pictures)
        if latest.status is not current.status:
            self.on_change(latest)
        self._telemetry.seen(latest, why)
        if latest.finished:
            self._callbacks.ended(latest.intent_id)
            self.desk.keep(latest)
            logger.info(
                "task %s ended: %s, %s credits",
                latest.task_id,
                latest.status,
                latest.credits_consumed,
                extra={"task_id": latest.task_id},
            )
        return latest
