"""The use cases: generate an image, get a task, wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

import anyio

from nano_banana_mcp.common.gather import gather
from nano_banana_mcp.defapi.errors import DefapiError, ModelRefused
from nano_banana_mcp.defapi.schemas import RETIRED_MODELS, SubmitRequest
from nano_banana_mcp.generations.batches import (
    Batch,
    GenerationOrBatch,
    as_batch,
    child_request_id,
    members,
    new_batch_id,
)
from nano_banana_mcp.generations.change_bus import ChangeBus
from nano_banana_mcp.generations.instrumentation import Instrumentation
from nano_banana_mcp.generations.models import Generation, Status, new_generation_id
from nano_banana_mcp.generations.quotas import Callers, Usage
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.images.formats import Size
from nano_banana_mcp.ledger.base import Ledger, LedgerError, ModelMedians
from nano_banana_mcp.media.export import combined
from nano_banana_mcp.media.image_store import ImageStore
from nano_banana_mcp.service.account import AccountReader
from nano_banana_mcp.service.references import ReferenceResolver
from nano_banana_mcp.service.submission import Submitter, options_text, request_hash
from nano_banana_mcp.service.uploads import UploadService
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
"""Minimum wait for the export, even after the caller's time is over."""


class SaveAsRefused(Exception):
    """Callers may not name the files of their images here.

    Attributes:
        message: Why.
        hint: What to do.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class GenerationService:
    """What the tools call. :func:`nano_banana_mcp.app.open_service` builds it.

    Args:
        exporter: Saves finished images to a folder for people; None without such a folder.
        default_model: The model of requests that name none.
        api: What the ledger calls the API.
        now: Wall-clock time, Unix seconds.
        allows_save_as: Whether callers may name the files in the output folder.
        max_export_seconds: How long a call that returns a finished image waits until it is exported.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        account: AccountReader,
        images: ImageStore,
        exporter: Exporter | None,
        references: ReferenceResolver,
        uploads: UploadService,
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
        allows_save_as: bool = False,
        max_export_seconds: float = MAX_EXPORT_SECONDS,
    ) -> None:
        self.ledger = ledger
        self.account = account
        self.images = images
        self.exporter = exporter
        self.references = references
        self.uploads = uploads
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
        self._allows_save_as = allows_save_as
        self._max_export_seconds = max_export_seconds

    async def generate(
        self,
        request: SubmitRequest,
        *,
        count: int = 1,
        requested_count: int | None = None,
        save_as: str | None = None,
        principal: str = "",
        request_id: str | None = None,
        generation_id: str | None = None,
        wait_seconds: float = 0.0,
        report: Report | None = None,
    ) -> WaitResult:
        """Submit a request ``count`` times, once each, and wait at most ``wait_seconds`` for the images.

        All generations are recorded before anything is sent, and their outcomes afterwards, even if the caller is
        cancelled. A ``request_id`` that was used before is not submitted again: what it led to is returned. Of a
        batch, what was never sent is submitted then.

        Args:
            count: Number of images, at most :data:`~nano_banana_mcp.generations.batches.MAX_COUNT`; more than one are
                a batch.
            requested_count: Number that the call asked for, if ``count`` of them were approved.
            save_as: Name for the file in the output folder, without extension; a batch adds ``-1`` and so on.
            generation_id: Id of a new single generation that has a ``request_id``; one that is recorded already is
                returned, and never submitted.

        Raises:
            SaveAsRefused: callers may not name files here; nothing was sent.
            DefapiError: no task was made.
            ImageError: a reference cannot be used.
            RequestIdTaken: ``request_id`` was used for another request.
            LimitReached: a limit of the caller or the server; nothing was sent.
            LedgerError: the generation could not be recorded; nothing was sent.
        """
        self.require_possible(request, save_as)
        generations = await self._submitted(
            request, self._new(request, count, requested_count or count, save_as, principal, request_id, generation_id)
        )
        item = generations[0] if generations[0].batch_id is None else as_batch(generations)
        try:
            if wait_seconds <= 0 or not item.is_open:
                return await self.result(WaitResult(item))
            return await self._wait(item, wait_seconds, report)
        except LedgerError as error:  # the id of what was submitted is worth more than its end
            return WaitResult(item, note=str(error))

    def require_possible(self, request: SubmitRequest, save_as: str | None) -> None:
        """Check what would refuse the call in any case.

        Raises:
            SaveAsRefused: callers may not name files here.
            ImageError: the API cannot reach the callback URL.
        """
        if request.callback_url is not None:
            self.references.require_reachable_callback(request.callback_url)
        if save_as is not None:
            self._require_save_as()

    async def recorded_count(self, arguments_hash: str, principal: str, request_id: str | None) -> int:
        """Return how many generations are recorded for the same call under its ``request_id``; 0 for a new call.

        Args:
            arguments_hash: The :func:`~nano_banana_mcp.service.submission.request_hash` of the call.

        Raises:
            RequestIdTaken: ``request_id`` was used for another request.
            LedgerError: the ledger cannot be read.
        """
        return len(await self._submitter.find_earlier(request_id, self._api, principal, arguments_hash))

    async def model_for(self, request_id: str | None, principal: str) -> str:
        """Return the model of a call that names none: of the earlier call with its ``request_id``, else the default.

        The default may have changed since, and a repeated call must lead to the same images.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        earlier = None if request_id is None else await self.ledger.find_request(request_id, self._api, principal)
        return (earlier and earlier.model) or self.default_model

    async def usual_price(self, model: str) -> Decimal | None:
        """Return the usual credits of an image of ``model``; None if that is not known.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        return (await self.ledger.medians(model, self._api)).credits

    async def usage(self, principal: str) -> Usage:
        """Return what the caller has open and has spent today (UTC).

        Raises:
            LedgerError: the ledger cannot be read.
        """
        return await self.ledger.usage(principal, self._api, self.now())

    async def get(self, public_id: str, principal: str = "") -> GenerationOrBatch:
        """Return a task in its present state: one query, none if the end is known or the outcome of the submit is not.

        Raises:
            TaskNotFound: there is no such task, or it belongs to another caller.
            DefapiError: the API could not be queried.
        """
        return await self.refresher.get(public_id, principal)

    async def poll(self, public_id: str, principal: str = "") -> WaitResult:
        """Return a task in its present state. The API is queried if that is due; a task of another program always is.

        Raises:
            TaskNotFound: there is no such task, or it belongs to another caller.
            DefapiError: a task of another program cannot be queried.
        """
        item = await self.refresher.find(public_id, principal)
        if isinstance(item, Generation) and item.submitted_at is None and not item.finished:
            return await self.result(WaitResult(await self.refresher.refresh(item, "look")))
        return await self.result(await self.poll_recorded(item))

    async def wait(
        self, public_id: str, seconds: float, report: Report | None = None, principal: str = ""
    ) -> WaitResult:
        """Wait at most ``seconds`` for the end of a task, or of all of a batch.

        A task of this server that cannot be queried any more (a refused key) is returned with the error, given up.

        Raises:
            TaskNotFound: there is no such task, or it belongs to another caller.
            DefapiError: a task of another program cannot be queried (a refused key, an unknown task).
        """
        return await self._wait(await self.refresher.find(public_id, principal), seconds, report)

    async def cancel_unsent(self, batch: Batch) -> None:
        """Never send what was not sent of a batch yet. The API cannot stop the images of what was sent.

        Raises:
            LedgerError: the ledger cannot be written.
        """
        for generation in await self._submitter.cancel_unsent(batch):
            self.bus.publish(generation)

    async def poll_recorded(self, item: GenerationOrBatch) -> WaitResult:
        """As :meth:`poll`, for what is recorded, without its export; see :meth:`TaskWaiter.poll`.

        Raises:
            LedgerError: a task has ended, and its end could not be recorded.
        """
        polled = await gather([partial(self.waiter.poll, generation) for generation in members(item)])
        return joined(polled) if isinstance(item, Batch) else polled[0]

    async def result(self, waited: WaitResult, seconds: float | None = None) -> WaitResult:
        """Complete a result with the types of the images, their export, usual figures, and the state of the ledger.

        Args:
            seconds: What is left of the caller's time to wait for the export; None for no limit of its own.
        """
        item = waited.generation
        usual = await self._usual(item) if item.is_open else None
        if not any(generation.images for generation in members(item)):
            return replace(waited, note=self.ledger.problem, usual=usual)
        export = await self.export(item, seconds)
        sizes = await self._sizes(item)
        return replace(
            waited,
            generation=self.with_mime_types(item),
            note=self.ledger.problem,
            usual=usual,
            export=export,
            sizes=sizes,
        )

    async def _usual(self, item: GenerationOrBatch) -> ModelMedians | None:
        if item.model is None:
            return None
        try:
            return await self.ledger.medians(item.model, members(item)[0].api)
        except LedgerError:  # the id of a paid image is worth more than its usual time
            return None

    async def _other_models(self, model: str, principal: str) -> str | None:
        """Advise models that made an image for this caller lately, newest first, without :data:`RETIRED_MODELS`."""
        recent = await self.ledger.recent(MAX_RECENT, principal)
        models = [generation.model for generation in recent if generation.status is Status.SUCCESS and generation.model]
        others = [name for name in dict.fromkeys(models) if name != model and name not in RETIRED_MODELS][:3]
        return f"Models that worked recently: {', '.join(others)}." if others else None

    async def _sizes(self, item: GenerationOrBatch) -> tuple[Size | None, ...]:
        if not item.requested_format:
            return ()
        sizes = await gather([partial(self.images.sizes, generation, MAX_SIZE_SECONDS) for generation in members(item)])
        return tuple(size for of_one in sizes for size in of_one)

    def with_mime_types(self, item: GenerationOrBatch) -> GenerationOrBatch:
        """Return it with the MIME types of the images' bytes, where they were read."""
        if isinstance(item, Batch):
            return replace(item, generations=tuple(map(self.images.with_mime_types, item.generations)))
        return self.images.with_mime_types(item)

    async def export(self, item: GenerationOrBatch, seconds: float | None = None) -> ExportResult | None:
        """Return the export of the images, after a short wait; None if they are not exported."""
        if self.exporter is None:
            return None
        limit = self._max_export_seconds
        if seconds is not None:
            limit = min(limit, max(MIN_EXPORT_SECONDS, seconds))
        results = await gather([partial(self.exporter.result, generation, limit) for generation in members(item)])
        return combined(results)

    async def wait_until_settled(self) -> None:
        """Return when the outcome of every submit is recorded, and every finished image is stored and exported."""
        await self._submitter.wait_until_settled()
        await self.images.wait_until_settled()
        if self.exporter is not None:
            await self.exporter.wait_until_settled()

    def drain(self) -> None:
        """End every wait with the present state, and every pause of a submit: the server is about to end."""
        self._submitter.drain()
        self.waiter.drain()
        self.uploads.drain()
        self.images.drain()
        if self.exporter is not None:
            self.exporter.drain()

    def _require_save_as(self) -> None:
        if not self._allows_save_as:
            raise SaveAsRefused("save_as: only a server over stdio saves files for its caller.", "Leave save_as out.")
        if self.exporter is None:
            raise SaveAsRefused(
                "save_as: this server has no output folder.",
                "Leave save_as out, or ask the person to set NANO_BANANA_OUTPUT_DIR.",
            )

    def _new(
        self,
        request: SubmitRequest,
        count: int,
        requested_count: int,
        save_as: str | None,
        principal: str,
        request_id: str | None,
        generation_id: str | None,
    ) -> list[Generation]:
        """The generations of a call, not sent yet. Their order is that of their ids."""
        ids = [generation_id] if generation_id and count == 1 else [new_generation_id() for _ in range(count)]
        generation = Generation(
            "",
            model=request.model,
            prompt=request.prompt,
            api=self._api,
            options=options_text(request),
            principal=principal,
            request_id=request_id,
            request_hash=request_hash(request, requested_count),
            created_at=self.now(),
            batch_id=None if count == 1 else new_batch_id(),
            status=Status.UNKNOWN if count == 1 else Status.PENDING,
        )
        return [
            replace(
                generation,
                generation_id=generation_id,
                save_as=f"{save_as}-{number}" if save_as and count > 1 else save_as,
                request_id=child_request_id(request_id, number) if request_id and count > 1 else request_id,
                expects_callback=request.callback_url is None and self._callbacks.is_enabled,
            )
            for number, generation_id in enumerate(sorted(ids), 1)
        ]

    async def _submitted(self, request: SubmitRequest, generations: list[Generation]) -> list[Generation]:
        """What the call leads to, or has led to before under the same ``request_id``."""
        first = generations[0]
        earlier = await self._submitter.find_repeated(first)
        if earlier and not any(generation.is_unsent for generation in earlier):
            return earlier
        if request.images:
            try:
                request = await self.references.resolve(request, first.principal)
            except (DefapiError, ImageError):
                if all(generation.is_unsent for generation in earlier):
                    raise
                return earlier  # a part of the batch is paid for already
        try:
            if first.batch_id is None:
                generation = await self._submitter.submit_once(request, first)
                # Another call with this request_id may have been approved for several images, and been faster.
                batch_id = generation.batch_id
                submitted = [generation] if batch_id is None else await self.ledger.find_batch(batch_id)
            else:
                submitted = await self._submitter.submit_batch(request, earlier or generations)
        except ModelRefused as error:
            error.hint = await self._other_models(request.model, first.principal) or error.hint
            raise
        for generation in submitted:
            self.bus.publish(generation)
        return submitted

    async def _wait(self, item: GenerationOrBatch, seconds: float, report: Report | None) -> WaitResult:
        began = anyio.current_time()
        with self._instrumentation.waiting():
            if isinstance(item, Batch):
                waited = await self._wait_for_batch(item, seconds, report)
            else:
                waited = await self._wait_for_one(item, seconds, report)
        return await self.result(waited, seconds - (anyio.current_time() - began))

    async def _wait_for_one(self, generation: Generation, seconds: float, report: Report | None) -> WaitResult:
        try:
            return await self.waiter.wait(generation, seconds, report)
        except DefapiError as error:
            if generation.submitted_at is None:
                raise
            recorded = await self.ledger.find(generation.generation_id) or generation
            return WaitResult(recorded, error, given_up=True)

    async def _wait_for_batch(self, batch: Batch, seconds: float, report: Report | None) -> WaitResult:
        states = {generation.generation_id: WaitResult(generation) for generation in batch.generations}
        open_ids = [generation.generation_id for generation in batch.generations if generation.is_open]

        async def report_batch(item: GenerationOrBatch, waited: float) -> None:
            [generation] = members(item)
            states[generation.generation_id] = WaitResult(generation)
            if report is not None and generation.generation_id == open_ids[0]:  # one report for all
                await report(joined(states.values()).generation, waited)

        async def wait_for(generation: Generation) -> None:
            states[generation.generation_id] = await self._wait_for_one(generation, seconds, report_batch)
            open_ids.remove(generation.generation_id)

        await gather([partial(wait_for, generation) for generation in batch.generations if generation.is_open])
        return joined(states.values())


def joined(states: Iterable[WaitResult]) -> WaitResult:
    """Return the states of a batch's generations as one: given up once that is so for all that have no end."""
    items = list(states)
    return WaitResult(
        as_batch(generation for item in items for generation in members(item.generation)),
        next((item.last_error for item in items if item.last_error is not None), None),
        given_up=all(item.given_up or not item.generation.is_open for item in items)
        and any(item.given_up for item in items),
    )
