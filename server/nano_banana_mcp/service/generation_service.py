"""The use cases: generate an image, get a task, wait for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from nano_banana_mcp.defapi.errors import DefapiError, ModelRefused
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.change_bus import ChangeBus
from nano_banana_mcp.generations.instrumentation import Instrumentation
from nano_banana_mcp.generations.models import Generation, Status, new_generation_id
from nano_banana_mcp.generations.quotas import Callers
from nano_banana_mcp.images.formats import Size
from nano_banana_mcp.ledger.base import Ledger
from nano_banana_mcp.media.image_store import ImageStore
from nano_banana_mcp.service.references import ReferenceResolver
from nano_banana_mcp.service.submission import Submitter, asked_format, options_text, request_hash
from nano_banana_mcp.tracking.callbacks import CallbackTracker
from nano_banana_mcp.tracking.refresh import TaskRefresher
from nano_banana_mcp.tracking.waiter import Report, TaskWaiter, WaitResult

if TYPE_CHECKING:
    from nano_banana_mcp.media.export import Exporter, ExportResult

MAX_EXPORT_SECONDS = 10.0
"""How long a call that returns a finished image waits until it is exported."""

MAX_RECENT = 200
"""Newest generations in which models that work are looked up."""

MAX_SIZE_SECONDS = 2.0
"""How long it waits for the bytes of an image whose format or size was asked for, to compare them."""

MIN_EXPORT_SECONDS = 2.0
"""How long it waits even when its own time is over."""


class GenerationService:
    """What the tools call. :func:`nano_banana_mcp.app.open_service` builds it.

    Args:
        exporter: Saves finished images to a folder for people; None if there is none.
        default_model: The model of requests that name none.
        api: What the ledger calls the API.
        now: Wall-clock time, Unix seconds.
        max_export_seconds: How long a call that returns a finished image waits until it is exported.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        images: ImageStore,
        exporter: Exporter | None,
        references: ReferenceResolver,
        submitter: Submitter,
        callbacks: CallbackTracker,
        refresher: TaskRefresher,
        waiter: TaskWaiter,
        bus: ChangeBus,
        callers: Callers,
        instrumentation: Instrumentation,
        default_model: str,
        api: str,
        now: Callable[[], float],
        max_export_seconds: float = MAX_EXPORT_SECONDS,
    ) -> None:
        self.ledger = ledger
        self.images = images
        self.exporter = exporter
        self.references = references
        self.refresher = refresher
        self.waiter = waiter
        self.bus = bus
        self.callers = callers
        self.default_model = default_model
        self.now = now
        self._submitter = submitter
        self._callbacks = callbacks
        self._instrumentation = instrumentation
        self._api = api
        self._max_export_seconds = max_export_seconds

    async def generate(
        self,
        request: SubmitRequest,
        *,
        principal: str = "",
        request_id: str | None = None,
        wait_seconds: float = 0.0,
        report: Report | None = None,
    ) -> WaitResult:
        """Submit a request once, and wait at most ``wait_seconds`` for the image.

        The generation is recorded before anything is sent, and its outcome afterwards, even if the caller is
        cancelled. A ``request_id`` that was used before is not submitted again: its generation is returned.

        Raises:
            DefapiError: no task was made.
            ImageError: a reference cannot be used.
            RequestIdTaken: ``request_id`` was used for another request.
            LimitReached: a limit of the caller or the server; nothing was sent.
            LedgerError: the generation could not be recorded; nothing was sent.
        """
        generation = Generation(
            new_generation_id(),
            model=request.model,
            prompt=request.prompt,
            api=self._api,
            options=options_text(request),
            principal=principal,
            request_id=request_id,
            request_hash=request_hash(request),
            created_at=self.now(),
        )
        if request.callback_url is not None:
            self.references.require_reachable_callback(request.callback_url)
        elif (callback_url := self._callbacks.expect(generation.generation_id)) is not None:
            request = request.model_copy(update={"callback_url": callback_url})
            generation = replace(generation, expects_callback=True)
        earlier = await self._submitter.find_repeated(generation) if request_id is not None else None
        if earlier is None:
            if request.images:
                request = await self.references.resolve(request, principal)
            try:
                generation = await self._submitter.submit_once(request, generation)
            except ModelRefused as error:
                error.hint = await self._other_models(request.model, principal) or error.hint
                raise
            self.bus.publish(generation)
        else:
            generation = earlier
        if wait_seconds <= 0 or generation.finished or generation.task_id is None:
            return await self.result(WaitResult(generation))
        return await self._wait(generation, wait_seconds, report)

    async def get(self, public_id: str, principal: str = "") -> Generation:
        """Return a task as it is now: one query, none if the end is known or the outcome of the submit is not.

        Raises:
            TaskNotFound: there is no such task, or it belongs to another caller.
            DefapiError: the API could not be queried.
        """
        return await self.refresher.get(public_id, principal)

    async def poll(self, public_id: str, principal: str = "") -> WaitResult:
        """Return a task as it is now. The API is queried if that is due; a task of another program always is.

        Raises:
            TaskNotFound: there is no such task, or it belongs to another caller.
            DefapiError: a task of another program cannot be queried.
        """
        generation = await self.refresher.find(public_id, principal)
        if generation.submitted_at is None and not generation.finished:
            return await self.result(WaitResult(await self.refresher.refresh(generation, "look")))
        return await self.result(await self.waiter.poll(generation))

    async def wait(
        self, public_id: str, seconds: float, report: Report | None = None, principal: str = ""
    ) -> WaitResult:
        """Wait at most ``seconds`` for the end of a task.

        A task of this server that cannot be queried any more (a refused key) is returned with the error, given up.

        Raises:
            TaskNotFound: there is no such task, or it belongs to another caller.
            DefapiError: a task of another program cannot be queried (a refused key, an unknown task).
        """
        return await self._wait(await self.refresher.find(public_id, principal), seconds, report)

    async def result(self, waited: WaitResult, seconds: float | None = None) -> WaitResult:
        """Complete a result with the types of the images, their export, and the state of the ledger.

        Args:
            seconds: What is left of the caller's time to wait for the export; None for no limit of its own.
        """
        kept = await self.kept(waited.generation, seconds)
        sizes = await self._sizes(waited.generation)
        typed = self.images.typed(waited.generation)
        return replace(waited, generation=typed, note=self.ledger.problem, kept=kept, sizes=sizes)

    async def _other_models(self, model: str, principal: str) -> str | None:
        """Advise models that made an image for this caller lately, newest first."""
        recent = await self.ledger.recent(MAX_RECENT, principal)
        models = [generation.model for generation in recent if generation.status is Status.SUCCESS and generation.model]
        others = [name for name in dict.fromkeys(models) if name != model][:3]
        return f"Models that worked lately: {', '.join(others)}." if others else None

    async def _sizes(self, generation: Generation) -> tuple[Size | None, ...]:
        if not generation.images or not asked_format(generation.options):
            return ()
        return await self.images.sizes(generation, MAX_SIZE_SECONDS)

    async def kept(self, generation: Generation, seconds: float | None = None) -> ExportResult | None:
        """Wait for the export of the images, but not long; None if they are not exported."""
        if self.exporter is None:
            return None
        limit = self._max_export_seconds
        if seconds is not None:
            limit = min(limit, max(MIN_EXPORT_SECONDS, seconds))
        return await self.exporter.result(generation, limit)

    async def settled(self) -> None:
        """Return when the outcome of every submit is recorded, and every finished image is stored and exported."""
        await self._submitter.settled()
        await self.images.settled()
        if self.exporter is not None:
            await self.exporter.settled()

    def drain(self) -> None:
        """End every wait with the present state, and every pause of a submit: the server is about to end."""
        self._submitter.drain()
        self.waiter.drain()
        self.images.drain()
        if self.exporter is not None:
            self.exporter.drain()

    async def _wait(self, generation: Generation, seconds: float, report: Report | None) -> WaitResult:
        began = anyio.current_time()
        try:
            with self._instrumentation.waiting():
                waited = await self.waiter.wait(generation, seconds, report)
        except DefapiError as error:
            if generation.submitted_at is None:
                raise
            latest = await self.ledger.find(generation.generation_id) or generation
            waited = WaitResult(latest, error, given_up=True)
        return await self.result(waited, seconds - (anyio.current_time() - began))
