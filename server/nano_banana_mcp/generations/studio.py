"""The use cases: generate, look, wait, open a picture."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Self

import anyio

from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import DefapiError, TaskNotFound
from nano_banana_mcp.defapi.wire import SubmitRequest
from nano_banana_mcp.generations.ledger import Ledger
from nano_banana_mcp.generations.models import Generation, read
from nano_banana_mcp.generations.waiting import Report, Waited, Waiting, waiting_room
from nano_banana_mcp.images.fetch import PictureFetcher
from nano_banana_mcp.images.picture import Picture

NOT_FOUND_GRACE_SECONDS = 60.0
"""A task that was just made is often "not found" for some seconds (seen in three public clients)."""


logger = logging.getLogger(__name__)

CLOSING_SECONDS = 2.0


class NoSuchPicture(LookupError):
    """This server handed out no such picture."""


class Studio:
    """Makes pictures through one account of the API. Made by :meth:`open`."""

    _waiting: Waiting

    def __init__(
        self,
        client: DefapiClient,
        ledger: Ledger,
        fetcher: PictureFetcher,
        *,
        default_model: str,
        now: Callable[[], float],
    ) -> None:
        self._client = client
        self._fetcher = fetcher
        self.ledger = ledger
        self.default_model = default_model
        self.now = now

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        client: DefapiClient,
        ledger: Ledger,
        fetcher: PictureFetcher,
        *,
        default_model: str,
        now: Callable[[], float] = time.time,
    ) -> AsyncIterator[Self]:
        """A studio that works within the block; leaving it closes the connections.

        Args:
            now: Wall-clock time, Unix seconds.
        """
        studio = cls(client, ledger, fetcher, default_model=default_model, now=now)
        try:
            async with waiting_room(studio._ask, now) as studio._waiting:
                yield studio
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSING_SECONDS):
                await client.aclose()
                await fetcher.aclose()

    async def generate(
        self, request: SubmitRequest, *, wait_seconds: float = 0.0, report: Report | None = None
    ) -> Waited:
        """Submit once, and wait at most ``wait_seconds`` for the picture.

        From the moment the request is sent, a cancelled caller no longer stops it: the task is recorded.

        Raises:
            DefapiError: nothing was made, or (OutcomeUnknown) nobody knows. Once there is a task id, trouble
                is handed back with it instead, so that the id is never lost.
        """
        made: list[Generation] = []

        async def record(outcome: str | DefapiError) -> None:
            if isinstance(outcome, str):
                generation = Generation(outcome, model=request.model, prompt=request.prompt, submitted_at=self.now())
                self.ledger.save(generation)
                made.append(generation)
                logger.info("task %s submitted to %s", outcome, request.model)

        await self._client.submit(request, settle=record)
        generation = made[0]
        if wait_seconds <= 0:
            return Waited(generation)
        try:
            return await self._waiting.wait(generation, wait_seconds, report)
        except DefapiError as trouble:
            return Waited(self.ledger.find(generation.task_id) or generation, trouble)

    async def settled(self) -> None:
        """Return when every submit that is under way is recorded."""
        await self._client.settled()

    async def look(self, task_id: str) -> Generation:
        """The state now: one query, none if the end is already known.

        Raises:
            DefapiError: the API could not be asked, or knows no such task.
        """
        known = self._known(task_id)
        if known.finished:
            return known
        latest = await self._ask(known)
        self._waiting.tell(latest)
        return latest

    async def wait(self, task_id: str, seconds: float, report: Report | None = None) -> Waited:
        """Wait until the task ends, at most ``seconds``.

        Raises:
            DefapiError: the task cannot be asked for at all (a refused key, an unknown task).
        """
        return await self._waiting.wait(self._known(task_id), seconds, report)

    async def open_picture(self, task_id: str, number: int) -> Picture:
        """The bytes of a picture, by the task and its number in it.

        Raises:
            NoSuchPicture: no such task or number is known here.
            PictureError: the bytes cannot be had.
        """
        known = self.ledger.find(task_id)
        if known is None or not 0 <= number < len(known.images):
            raise NoSuchPicture
        url = known.images[number].url
        if url is not None:
            return await self._fetcher.fetch(url)
        kept = self.ledger.picture(task_id, number)
        if kept is None:
            raise NoSuchPicture
        return kept

    async def open_url(self, url: str) -> Picture:
        """The bytes of a picture, by the URL that this server handed out for it.

        Raises:
            NoSuchPicture: this server did not hand out that URL.
            PictureError: the bytes cannot be had.
        """
        place = self.ledger.find_image(url)
        if place is None:
            raise NoSuchPicture
        return await self._fetcher.fetch(url)

    def _known(self, task_id: str) -> Generation:
        return self.ledger.find(task_id) or Generation(task_id)

    async def _ask(self, known: Generation) -> Generation:
        try:
            snapshot = await self._client.query(known.task_id)
        except TaskNotFound:
            elapsed = known.elapsed_seconds(self.now())
            if elapsed is not None and elapsed < NOT_FOUND_GRACE_SECONDS:
                return known
            raise
        current = self.ledger.find(known.task_id) or known
        if current.finished:  # another query has seen the end while this one was on its way
            return current
        reading = read(current, snapshot, self.now())
        latest = reading.generation
        self.ledger.save(latest, reading.pictures)
        if latest.finished:
            logger.info("task %s ended: %s, %s credits", latest.task_id, latest.status, latest.credits_consumed)
        return latest
