"""The use cases: generate, look, wait."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Self

import anyio
from anyio.abc import TaskGroup

from nano_banana_mcp.common.supervise import supervise
from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import DefapiError
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.instrumentation import NO_INSTRUMENTATION, Audience, Instrumentation
from nano_banana_mcp.generations.models import Generation, new_generation_id
from nano_banana_mcp.generations.quotas import Accounts
from nano_banana_mcp.ledger.base import Ledger
from nano_banana_mcp.media.image_store import ImageStore
from nano_banana_mcp.service.references import Desk, LocalFolders
from nano_banana_mcp.service.submission import Submitter, hash_of, in_words
from nano_banana_mcp.tracking.callbacks import CallbackTracker, Paces
from nano_banana_mcp.tracking.refresh import TaskRefresher
from nano_banana_mcp.tracking.schedule import Pace
from nano_banana_mcp.tracking.sweeper import OpenTaskSweeper, Replicas
from nano_banana_mcp.tracking.waiter import Report, TaskWaiter, WaitResult, waiting_room

logger = logging.getLogger(__name__)

CLOSING_SECONDS = 2.0


class GenerationService:
    """Makes pictures through the API. Made by :meth:`open`.

    Attributes:
        audience: Told each generation whose state has changed.
        desk: Keeps its pictures on disk, and gets references ready.
        inquiry: Asks about tasks, and hears the API's callbacks.
    """

    desk: Desk
    inquiry: TaskRefresher
    album: ImageStore

    _waiting: TaskWaiter
    _paces: Paces
    _tasks: TaskGroup
    _maker: Submitter

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
        telemetry: Instrumentation,
    ) -> None:
        self._client = client
        self.accounts = accounts
        self.ledger = ledger
        self.default_model = default_model
        self._api = api
        self._callbacks = CallbackTracker(callback_for)
        self.audience = Audience()
        self._replicas = Replicas(ledger, self._ask, self._changed_elsewhere, lambda: self.audience.listeners > 0)
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
        places: LocalFolders | None = None,
        now: Callable[[], float] = time.time,
        telemetry: Instrumentation = NO_INSTRUMENTATION,
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
        service = cls(
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
                anyio.create_task_group() as service._tasks,
                waiting_room(service._replicas.ask, service._pace, now, service._callbacks.purse) as service._waiting,
            ):
                service._paces = Paces(ledger, api, service._callbacks, service._waiting.opened)
                service._callbacks.on_change = service._reconsider
                folders = places or LocalFolders()
                service.album = ImageStore(
                    ledger,
                    folders.images,
                    max_bytes=folders.max_image_bytes,
                    keep_days=folders.keep_days,
                    trusted_origins=trusted_origins,
                    tasks=service._tasks,
                    now=now,
                    opened_at=now(),
                )
                service.desk = Desk(service.album, folders, service.look, service._tasks, now)
                service.inquiry = TaskRefresher(
                    client,
                    ledger,
                    service.accounts,
                    service._callbacks,
                    telemetry,
                    service._tasks,
                    tell=service._waiting.tell,
                    changed=service._changed,
                    keep=service.desk.keep,
                    reconsider=service._waiting.reconsider,
                    now=now,
                )
                service._tasks.start_soon(
                    partial(supervise, "following other replicas", service._replicas.follow, goes_on=True)
                )
                service._maker = Submitter(client, ledger, service._tasks, service.accounts, now, telemetry)
                if care:
                    service._tasks.start_soon(
                        partial(supervise, "the caretaker", service._caretaker().run, goes_on=True)
                    )
                yield service
                with anyio.move_on_after(CLOSING_SECONDS):
                    await service.desk.settled()
                service._tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSING_SECONDS):
                await client.aclose()
                await service.album.aclose()
                await ledger.aclose()

    async def generate(
        self,
        request: SubmitRequest,
        *,
        principal: str = "",
        request_id: str | None = None,
        wait_seconds: float = 0.0,
        report: Report | None = None,
    ) -> WaitResult:
        """Submit once, and wait at most ``wait_seconds`` for the picture.

        The intent is written down before anything is sent, and what became of it after; from the moment the
        request is sent, a cancelled caller stops neither. A request that was made before under the same
        ``request_id`` is not made again: the generation that it led to is handed back.

        One whose outcome is unknown, or whose wait met trouble, is handed back all the same: no id is lost.

        Raises:
            DefapiError: nothing was made.
            ImageError: a reference picture cannot be used.
            RequestIdTaken: ``request_id`` stands for another request.
            LimitReached: the caller may not make it now.
            LedgerError: it cannot be told whether ``request_id`` was used before, or nothing can be written for a
                passing reason; nothing was sent.
        """
        intent = Generation(
            new_generation_id(),
            model=request.model,
            prompt=request.prompt,
            api=self._api,
            options=in_words(request),
            principal=principal,
            request_id=request_id,
            request_hash=hash_of(request),
            created_at=self.now(),
        )
        if request.callback_url is None and (address := self._callbacks.address(intent.generation_id)):
            request = request.model_copy(update={"callback_url": address})
            intent = replace(intent, expects_callback=True)
        generation = await self._maker.submit_once(request, intent, lambda asked: self.desk.ready(asked, principal))
        self.audience.changed(generation)
        if wait_seconds <= 0 or generation.finished or generation.task_id is None:
            kept = await self.desk.kept(generation)
            return WaitResult(self.album.typed(generation), note=self.ledger.problem, kept=kept)
        return await self._wait(generation, wait_seconds, report)

    async def settled(self) -> None:
        """Return when every submit that is under way is recorded, and every finished picture saved."""
        await self._client.settled()
        await self.desk.settled()

    def drain(self) -> None:
        """Let every wait end with the state as it is, and every pause of a submit: the server is about to end."""
        self._client.drain()
        self._waiting.drain()
        self.desk.drain()

    async def look(self, public_id: str, principal: str = "") -> Generation:
        """The state now: one query, none if the end is already known or the outcome of the submit is unknown.

        Raises:
            TaskNotFound: there is no such task, or it is somebody else's.
            DefapiError: the API could not be asked.
        """
        known = await self.inquiry.known(public_id, principal)
        if known.finished:
            return known
        latest = await self.inquiry.ask(known, "look")
        self._waiting.tell(latest)
        return latest

    def _changed(self, generation: Generation) -> None:
        self.audience.changed(generation)

    def _changed_elsewhere(self, latest: Generation) -> None:
        """Another replica has learned it."""
        if latest.finished and self._callbacks.expected(
            latest.generation_id
        ):  # we have its lease: they were called back
            self._callbacks.came(latest.generation_id)
            self._callbacks.ended(latest.generation_id)
        self._waiting.tell(latest)
        self.audience.changed(latest)

    async def wait(
        self, public_id: str, seconds: float, report: Report | None = None, principal: str = ""
    ) -> WaitResult:
        """Wait until the task ends, at most ``seconds``. One of our own that cannot be asked for any more (a refused
        key) is handed back with the trouble, given up.

        Raises:
            TaskNotFound: there is no such task, or it is somebody else's.
            DefapiError: a task made elsewhere cannot be asked for (a refused key, an unknown task).
        """
        return await self._wait(await self.inquiry.known(public_id, principal), seconds, report)

    async def _wait(self, known: Generation, seconds: float, report: Report | None) -> WaitResult:
        began = anyio.current_time()
        try:
            if known.expects_callback and not known.finished:
                self._callbacks.adopt(known.generation_id)
            async with self._replicas.waited_for(known) as latest:
                with self._telemetry.waiting():
                    waited = await self._waiting.wait(latest, seconds, report)
        except DefapiError as trouble:
            if known.submitted_at is None:
                raise
            waited = WaitResult(await self.ledger.find(known.public_id) or known, trouble, given_up=True)
        kept = await self.desk.kept(waited.generation, seconds - (anyio.current_time() - began))
        generation = self.album.typed(waited.generation)
        return replace(waited, generation=generation, note=self.ledger.problem, kept=kept)

    def _caretaker(self) -> OpenTaskSweeper:
        def in_care(known: Generation) -> bool:
            elsewhere = known.api not in (self._api, None) or not self.album.still_serves(known)
            return elsewhere or self._waiting.watches(known)

        async def look(known: Generation) -> Generation:
            return await self.look(known.generation_id, known.principal)

        return OpenTaskSweeper(
            self.ledger,
            look=partial(self._replicas.alone, look),
            in_care=in_care,
            told=self._callbacks.expected,
            now=self.now,
        )

    async def _ask(self, known: Generation) -> Generation:
        return await self.inquiry.ask(known)

    async def _pace(self, known: Generation) -> Pace:
        return await self._paces.of(known)

    def _reconsider(self) -> None:
        self._paces.forget()
        self._waiting.reconsider()
