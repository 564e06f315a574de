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
from nano_banana_mcp.defapi.errors import DefapiError, OutcomeUnknown, TaskNotFound
from nano_banana_mcp.defapi.wire import SubmitRequest
from nano_banana_mcp.generations.album import Album
from nano_banana_mcp.generations.journal import MadeMeanwhile, SubmitJournal, hash_of, honest, in_words
from nano_banana_mcp.generations.ledger import Ledger
from nano_banana_mcp.generations.models import Generation, new_intent_id, read
from nano_banana_mcp.generations.schedule import Pace
from nano_banana_mcp.generations.waiting import Report, Waited, Waiting, waiting_room

logger = logging.getLogger(__name__)

NOT_FOUND_GRACE_SECONDS = 60.0
"""A task that was just made is often "not found" for some seconds (seen in three public clients)."""

CLOSING_SECONDS = 2.0
LOOK_AGAIN_SECONDS = 0.25
OTHERS_SUBMIT_SECONDS = 15.0


class RequestIdTaken(ValueError):
    """A ``request_id`` that was used before, for another request."""


class Studio:
    """Makes pictures through one account of the API. Made by :meth:`open`."""

    _waiting: Waiting
    _tasks: TaskGroup

    def __init__(
        self,
        client: DefapiClient,
        ledger: Ledger,
        *,
        trusted_origins: Sequence[str] = (),
        default_model: str,
        api: str,
        now: Callable[[], float],
    ) -> None:
        self._client = client
        self.album = Album(ledger, trusted_origins)
        self.ledger = ledger
        self.default_model = default_model
        self._api = api
        self._submitting: set[str] = set()
        self.now = now

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
        now: Callable[[], float] = time.time,
    ) -> AsyncIterator[Self]:
        """A studio that works within the block; leaving it closes the connections and the ledger.

        Args:
            trusted_origins: Where pictures may be fetched from besides public hosts: the sandbox's own origin.
            api: What to call the API in the ledger.
            now: Wall-clock time, Unix seconds.
        """
        studio = cls(client, ledger, trusted_origins=trusted_origins, default_model=default_model, api=api, now=now)
        try:
            async with (
                anyio.create_task_group() as studio._tasks,
                waiting_room(studio._ask, studio._pace, now) as studio._waiting,
            ):
                yield studio
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
            RequestIdTaken: ``request_id`` stands for another request.
        """
        intent = Generation(
            new_intent_id(),
            model=request.model,
            prompt=request.prompt,
            api=self._api,
            options=in_words(request),
            request_id=request_id,
            request_hash=hash_of(request),
            created_at=self.now(),
        )
        generation = await self._made_before(intent) or await self._make_apart(request, intent)
        if wait_seconds <= 0 or generation.finished or generation.task_id is None:
            return Waited(generation, note=self.ledger.problem)
        try:
            waited = await self._waiting.wait(generation, wait_seconds, report)
        except DefapiError as trouble:
            waited = Waited(await self.ledger.find(generation.handle) or generation, trouble, given_up=True)
        return replace(waited, note=self.ledger.problem)

    async def settled(self) -> None:
        """Return when every submit that is under way is recorded."""
        await self._client.settled()

    def drain(self) -> None:
        """Let every wait end with the state as it is: the server is about to end."""
        self._waiting.drain()

    async def claim(self, intent_id: str, task_id: str) -> Generation | None:
        """Settle an unknown outcome: the API has named the task that our intent led to."""
        known = await self.ledger.find(intent_id)
        if known is None or known.task_id is not None:
            return known
        claimed = known.accepted(task_id, self.now())
        await self.ledger.save(claimed)
        logger.info("task %s claimed for an intent of unknown outcome", task_id)
        return claimed

    async def look(self, handle: str) -> Generation:
        """The state now: one query, none if the end is already known or the outcome of the submit is unknown.

        Raises:
            DefapiError: the API could not be asked, or knows no such task.
        """
        known = await self._known(handle)
        if known.finished:
            return known
        latest = await self._ask(known)
        self._waiting.tell(latest)
        return latest

    async def wait(self, handle: str, seconds: float, report: Report | None = None) -> Waited:
        """Wait until the task ends, at most ``seconds``. One of our own that cannot be asked for any more (a refused
        key) is handed back with the trouble, given up.

        Raises:
            DefapiError: a task made elsewhere cannot be asked for (a refused key, an unknown task).
        """
        known = await self._known(handle)
        try:
            return await self._waiting.wait(known, seconds, report)
        except DefapiError as trouble:
            if known.submitted_at is None:
                raise
            return Waited(await self.ledger.find(handle) or known, trouble, given_up=True)

    async def _made_before(self, intent: Generation) -> Generation | None:
        """What the same ``request_id`` led to; its submit may still be under way, here or in another process."""
        if intent.request_id is None:
            return None
        earlier = await self.ledger.find_request(intent.request_id)
        while earlier is not None and self._under_way(earlier):
            await anyio.sleep(LOOK_AGAIN_SECONDS)
            earlier = await self.ledger.find_request(intent.request_id)
        if earlier is None:
            return None
        if earlier.request_hash != intent.request_hash:
            raise RequestIdTaken
        return honest(earlier)

    def _under_way(self, known: Generation) -> bool:
        if known.task_id is not None or known.message is not None:
            return False
        # Whether another process still lives cannot be known: its submit gets the benefit of the doubt for a while.
        return known.intent_id in self._submitting or self.now() - known.created_at < OTHERS_SUBMIT_SECONDS

    async def _make_apart(self, request: SubmitRequest, intent: Generation) -> Generation:
        """Make it in a task of the studio's own: no way of ending the caller's task (a web server's plain
        cancellation passes through every shield) can then cut a paid attempt. Between attempts it still ends."""
        made: list[Generation] = []
        failed: list[Exception] = []
        over = anyio.Event()
        scope = anyio.CancelScope()

        async def make() -> None:
            try:
                with scope:
                    made.append(await self._make(request, intent))
            except Exception as error:  # noqa: BLE001 - the edge of this task: raised again by the caller
                failed.append(error)
            finally:
                over.set()

        self._tasks.start_soon(make)
        try:
            await over.wait()
        finally:
            scope.cancel()
        if failed:
            raise failed[0]
        if not made:  # the studio itself is ending, and the cancellation of this caller is on its way
            await anyio.sleep_forever()
        return made[0]

    async def _make(self, request: SubmitRequest, intent: Generation) -> Generation:
        journal = SubmitJournal(self.ledger, intent, self.now)
        self._submitting.add(intent.intent_id)
        try:
            await self._client.submit(request, journal)
        except OutcomeUnknown:
            pass  # the journal has the words for it
        except MadeMeanwhile:
            return await self._made_before(intent) or await self._make(request, intent)
        finally:
            self._submitting.discard(intent.intent_id)
        return journal.generation

    async def _known(self, handle: str) -> Generation:
        known = await self.ledger.find(handle)
        if known is None:  # made elsewhere: the API may know it
            return Generation(new_intent_id(), task_id=handle, created_at=self.now())
        return honest(known)

    async def _pace(self, known: Generation) -> Pace:
        return Pace(await self.ledger.latencies(known.model) if known.model else ())

    async def _ask(self, known: Generation) -> Generation:
        if known.task_id is None:
            return await self._known(known.intent_id)  # a callback, or another process, may have settled it
        try:
            snapshot = await self._client.query(known.task_id)
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
        if latest.finished:
            logger.info("task %s ended: %s, %s credits", latest.task_id, latest.status, latest.credits_consumed)
        return latest
