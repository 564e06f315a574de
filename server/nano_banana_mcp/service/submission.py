"""Submits a request once: recorded before anything is sent, and never repeated for the same ``request_id``."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.lowlevel
import stamina
from anyio.abc import TaskGroup

from nano_banana_mcp.common.gather import gather
from nano_banana_mcp.defapi import retry
from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import DefapiError, NotSent, OutcomeUnknown, Refused, SubmitFailed
from nano_banana_mcp.defapi.responses import MAY_HAVE_BEEN_CHARGED
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.batches import Batch, callers_request_id
from nano_banana_mcp.generations.instrumentation import NO_INSTRUMENTATION, Instrumentation
from nano_banana_mcp.generations.models import Generation, Status, new_generation_id
from nano_banana_mcp.generations.quotas import Callers
from nano_banana_mcp.ledger.base import Ledger, LedgerError
from nano_banana_mcp.tracking.callbacks import CallbackTracker

if TYPE_CHECKING:
    from pydantic import SecretStr

logger = logging.getLogger(__name__)

T = TypeVar("T")

RECHECK_SECONDS = 0.25
"""Pause between two checks of a request that another call is submitting."""

FOREIGN_SUBMIT_SECONDS = 15.0
"""How long the unrecorded submit of another process is taken to be under way."""

FAILED_WHILE_SUBMITTING = f"The server failed while it was submitting. {MAY_HAVE_BEEN_CHARGED}"

STOPPED = "The server is shutting down, or the call was cancelled."

CANCELLED_UNSENT = "It was cancelled before it was sent, so it was not charged."


class RequestIdTaken(ValueError):
    """The ``request_id`` was used before for another request."""


class _AlreadyRecorded(Exception):
    """Another call with the same ``request_id`` recorded its generation first."""


class _RetryPauses:
    """The pauses between the attempts of one call, which end when its caller leaves."""

    def __init__(self) -> None:
        self._scopes: list[anyio.CancelScope] = []
        self._has_ended = False

    def new(self) -> anyio.CancelScope:
        """Return the scope of one submit's pauses."""
        scope = anyio.CancelScope()
        self._scopes.append(scope)
        if self._has_ended:
            scope.cancel()
        return scope

    def end(self) -> None:
        """End all pauses, and those to come."""
        self._has_ended = True
        for scope in self._scopes:
            scope.cancel()


class Submitter:
    """Submits requests to the API, each in a task of its own, so that no way of ending the caller cuts a paid request.

    Args:
        tasks: Runs the submits.
        callers: Keys and limits of the callers.
        now: Wall-clock time, Unix seconds.
        callbacks: Knows the callback URL of a generation that expects a callback.
    """

    def __init__(
        self,
        client: DefapiClient,
        ledger: Ledger,
        tasks: TaskGroup,
        callers: Callers,
        now: Callable[[], float],
        instrumentation: Instrumentation = NO_INSTRUMENTATION,
        callbacks: CallbackTracker | None = None,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._tasks = tasks
        self._callers = callers
        self._now = now
        self._instrumentation = instrumentation
        self._callbacks = callbacks or CallbackTracker(None)
        self._submitting: dict[str, anyio.CancelScope] = {}
        self._submit_ended = anyio.Event()
        self._is_draining = False

    async def find_repeated(self, generation: Generation) -> list[Generation]:
        """Return what the caller's same ``request_id`` led to before: one generation, or all of a batch.

        Waits while another call, here or in another process, is submitting it. Generations of a batch that are still
        unsent are left to :meth:`submit_batch`.

        Returns:
            Empty if it is new, or may be submitted again.

        Raises:
            RequestIdTaken: it was used for another request.
            LedgerError: the ledger cannot be read.
        """
        request_id, api, principal = callers_request_id(generation), generation.api, generation.principal
        while earlier := await self.find_earlier(request_id, api, principal, generation.request_hash):
            if not any(map(self._is_being_submitted, earlier)):
                self._instrumentation.repeated(earlier[0])
                return [generation.with_message() for generation in earlier]
            await anyio.sleep(RECHECK_SECONDS)
        return []

    async def find_earlier(
        self, request_id: str | None, api: str | None, principal: str, arguments_hash: str | None
    ) -> list[Generation]:
        """Return what is recorded for a call under its ``request_id``: one generation, or all of a batch.

        Args:
            arguments_hash: The call's :func:`request_hash`.

        Returns:
            Empty for a new call.

        Raises:
            RequestIdTaken: it was used for another request.
            LedgerError: the ledger cannot be read.
        """
        earlier = None if request_id is None else await self._ledger.find_request(request_id, api, principal)
        if earlier is None:
            return []
        if earlier.request_hash != arguments_hash:
            raise RequestIdTaken
        return [earlier] if earlier.batch_id is None else await self._ledger.find_batch(earlier.batch_id)

    async def submit_once(self, request: SubmitRequest, generation: Generation) -> Generation:
        """Record the generation, submit the request, and record the outcome.

        Cancelling the caller ends the pauses between attempts, but no attempt.

        Args:
            request: Its references are in the form that the API reads.
            generation: The new generation, without a task id.

        Returns:
            The accepted generation; one of status ``unknown`` if it may have been charged; or the earlier one, if
            another call with the same ``request_id`` or generation id was faster.

        Raises:
            DefapiError: no task was made.
            RequestIdTaken: the ``request_id`` was used for another request.
            LimitReached: a limit of the caller or the server; nothing was sent.
            LedgerError: the generation could not be recorded; nothing was sent.
        """
        try:
            submitted, error = await self._run_shielded(partial(self._submit, request, generation))
        except _AlreadyRecorded:
            if repeated := await self.find_repeated(generation):
                return repeated[0]
            failed = await self._ledger.find(generation.generation_id)  # it has given up its request_id
            return failed or await self.submit_once(request, generation)
        if error is not None:
            raise error
        return submitted

    async def submit_batch(self, request: SubmitRequest, generations: Sequence[Generation]) -> list[Generation]:
        """Record all generations of a batch, submit those that were not sent yet together, and record the outcomes.

        Args:
            request: As in :meth:`submit_once`; it is sent once for each generation.
            generations: New ones, or those that :meth:`find_repeated` returned.

        Returns:
            All generations of the batch, also those that failed.

        Raises:
            DefapiError: no task was made, and all records are removed.
            RequestIdTaken, LimitReached, LedgerError: as in :meth:`submit_once`.
        """
        return await self._run_shielded(partial(self._submit_batch, request, generations))

    async def cancel_unsent(self, batch: Batch) -> list[Generation]:
        """Send nothing more of a batch: pauses between attempts end, and what is unsent then is never sent.

        Returns:
            The cancelled generations.

        Raises:
            LedgerError: the ledger cannot be written.
        """
        return await self._run_shielded(lambda _: self._cancel_unsent(batch))

    async def wait_until_settled(self) -> None:
        """End the pauses between attempts, and return when every submit has its outcome recorded."""
        while self._submitting:
            for pauses in self._submitting.values():
                pauses.cancel()
            await self._submit_ended.wait()

    def drain(self) -> None:
        """Send no further attempts: a submit in a pause ends with the error of its last attempt."""
        self._is_draining = True
        for pauses in self._submitting.values():
            pauses.cancel()

    async def _run_shielded(self, work: Callable[[_RetryPauses], Awaitable[T]]) -> T:
        """Run in a task of the service, which the end of the caller does not cancel."""
        results: list[T] = []
        errors: list[Exception] = []
        ended = anyio.Event()
        pauses = _RetryPauses()

        async def run() -> None:
            try:
                results.append(await work(pauses))
            except Exception as error:  # noqa: BLE001 - the edge of this task: raised again by the caller
                errors.append(error)
            finally:
                ended.set()

        self._tasks.start_soon(run)
        try:
            await ended.wait()
        finally:
            pauses.end()
        if errors:
            raise errors[0]
        if not results:  # the service is ending, and the cancellation of this caller is on its way
            await anyio.sleep_forever()
        return results[0]

    async def _submit_batch(
        self, request: SubmitRequest, generations: Sequence[Generation], pauses: _RetryPauses
    ) -> list[Generation]:
        first = generations[0]
        check = self._callers.quotas.check_for(first.principal, len(generations))
        recorded = await self._ledger.begin_batch(generations, check)
        if recorded[0].request_hash != first.request_hash:
            raise RequestIdTaken
        outcomes = await gather([partial(self._submit_child, request, generation, pauses) for generation in recorded])
        errors = [error for _, error in outcomes if error is not None and not isinstance(error, SubmitFailed)]
        if len(errors) == len(outcomes):  # the same call may be sent again, also with the same request_id
            with anyio.CancelScope(shield=True):
                await self._ledger.forget_batch(recorded)
            raise errors[0]
        return [generation.with_message() for generation, _ in outcomes]

    async def _cancel_unsent(self, batch: Batch) -> list[Generation]:
        generation_ids = {generation.generation_id for generation in batch.generations}
        while submitting := generation_ids & self._submitting.keys():
            for generation_id in submitting:
                self._submitting[generation_id].cancel()
            await self._submit_ended.wait()
        recorded = await self._ledger.find_batch(batch.batch_id)
        cancelled = [self._failed(generation, CANCELLED_UNSENT) for generation in recorded if generation.is_unsent]
        return [generation for generation in cancelled if await self._ledger.cancel_unsent(generation)]

    async def _submit_child(
        self, request: SubmitRequest, generation: Generation, pauses: _RetryPauses
    ) -> tuple[Generation, DefapiError | LedgerError | None]:
        """Submit one generation of a batch, or wait until another call that does has recorded the outcome."""
        while True:
            if generation.is_unsent:
                try:
                    return await self._submit(request, generation, pauses)
                except _AlreadyRecorded:
                    pass
                except LedgerError as error:  # not sent; others may be
                    return generation, error
            elif not self._is_being_submitted(generation):
                return generation, None
            await anyio.sleep(RECHECK_SECONDS)
            try:
                recorded = await self._ledger.find(generation.generation_id)
            except LedgerError as error:  # others of the batch may have been sent
                return generation, error
            if recorded is None:  # the other call was refused
                return generation, NotSent("Another call with this request_id was refused.", hint="Try again.")
            generation = recorded

    async def _submit(
        self, request: SubmitRequest, generation: Generation, pauses: _RetryPauses
    ) -> tuple[Generation, DefapiError | None]:
        """The write before the POST, the attempts, and the write after them.

        Returns:
            The generation, and why no task was made.

        Raises:
            _AlreadyRecorded: another call sends it, or has sent it.
        """
        generation = replace(generation, created_at=self._now())  # others take it to be under way from now on
        backoff = retry.Backoff()
        key = self._callers.key_of(generation.principal)
        outcome: str | DefapiError | None = None
        if generation.generation_id in self._submitting:
            raise _AlreadyRecorded
        scope = self._submitting[generation.generation_id] = pauses.new()
        try:
            with self._instrumentation.submitting(generation):
                generation = await self._begin(generation)
                try:
                    outcome = await self._send(request, generation, key, backoff, scope)
                except anyio.get_cancelled_exc_class():  # never during an attempt, which is shielded
                    outcome = backoff.errors[-1] if backoff.errors else NotSent(STOPPED, hint="Try again.")
                    raise
                except Exception:
                    logger.exception("A submit failed unexpectedly.")
                finally:
                    outcome = outcome or OutcomeUnknown(FAILED_WHILE_SUBMITTING)
                    with anyio.CancelScope(shield=True):
                        generation = await self._record(generation, outcome, backoff.errors)
                if isinstance(outcome, DefapiError) and generation.task_id is None:
                    raise outcome
        except OutcomeUnknown:
            pass  # the message of the generation says what that means
        except DefapiError as error:
            if any(map(_is_server_error, backoff.errors)):  # it may have been charged, whatever the last error is
                return generation, SubmitFailed(generation.message or error.message, status=error.status)
            return generation, error
        finally:
            del self._submitting[generation.generation_id]
            self._submit_ended.set()
            self._submit_ended = anyio.Event()
        return generation, None

    async def _begin(self, generation: Generation) -> Generation:
        """Record that the generation is about to be sent.

        Raises:
            _AlreadyRecorded: another call sends it, or has sent it.
        """
        if generation.batch_id is not None:
            claimed = await self._ledger.claim(generation)
            if claimed is None:
                raise _AlreadyRecorded
            return claimed
        recorded = await self._ledger.begin(generation, self._callers.quotas.check_for(generation.principal))
        if recorded != generation:
            raise _AlreadyRecorded
        return recorded

    async def _send(
        self,
        request: SubmitRequest,
        generation: Generation,
        key: SecretStr | None,
        backoff: retry.Backoff,
        pauses: anyio.CancelScope,
    ) -> str | DefapiError:
        """Return the task id, or the error of the last attempt."""
        if self._is_draining:
            pauses.cancel()
        if generation.expects_callback:
            request = request.model_copy(update={"callback_url": self._callbacks.expect(generation.generation_id)})
        try:
            with pauses:
                await anyio.lowlevel.checkpoint()  # a caller who left before the POST pays nothing
                async for attempt in stamina.retry_context(backoff, attempts=retry.MAX_ATTEMPTS, timeout=None):
                    with attempt:
                        if backoff.errors and (task_id := await self._called_back(generation)):
                            return task_id
                        return await self._client.submit(request, key=key)
        except DefapiError as error:
            return error
        except LedgerError:  # whether an attempt led to a task is not known: there is no further one
            pass
        if backoff.errors:
            return backoff.errors[-1]
        return NotSent(STOPPED, hint="Try again in a moment.")

    async def _called_back(self, generation: Generation) -> str | None:
        """The task id that a callback has named since an attempt failed."""
        recorded = await self._ledger.find(generation.generation_id)
        return None if recorded is None else recorded.task_id

    async def _record(
        self, generation: Generation, outcome: str | DefapiError, errors: list[DefapiError]
    ) -> Generation:
        """Record the task id or what is known without one; remove the record of what certainly was not made."""
        generation = replace(generation, is_sandbox=generation.is_sandbox or self._client.is_sandbox)
        if isinstance(outcome, str):
            generation = generation.accepted(outcome, self._now())
            logger.info("task %s submitted to %s", outcome, generation.model, extra={"task_id": outcome})
        elif isinstance(outcome, OutcomeUnknown):
            generation = replace(generation, message=outcome.message)
            logger.warning("The outcome of submit %s is unknown.", generation.generation_id)
        elif any(map(_is_server_error, errors)):
            generation = self._failed(generation, _failure_message(errors))
            if generation.batch_id is None:  # the same request may be submitted again
                generation = replace(generation, request_id=None)
        elif generation.batch_id is not None and isinstance(outcome, NotSent):
            generation = replace(generation, status=Status.PENDING, message=outcome.message)
        elif generation.batch_id is not None:
            generation = self._failed(generation, outcome.message)
        else:
            await self._ledger.forget(generation.generation_id)
            return generation
        # A callback may have been faster than the answer, and may have settled an unknown outcome.
        recorded = await self._ledger.save(generation)
        if isinstance(outcome, str) and recorded.task_id != outcome:
            logger.warning("Two attempts of submit %s led to a task each.", generation.generation_id)
            second = replace(generation, generation_id=new_generation_id(), request_id=None, batch_id=None)
            await self._ledger.save(replace(second, expects_callback=False))
        return recorded

    def _failed(self, generation: Generation, message: str) -> Generation:
        return replace(generation, status=Status.FAILED, message=message, finished_at=self._now())

    def _is_being_submitted(self, generation: Generation) -> bool:
        if generation.task_id is not None or generation.message is not None:
            return False
        if generation.is_unsent:  # the first call to claim it sends it
            return generation.generation_id in self._submitting
        # Whether another process is alive is not known: its submit is taken to be under way for a while.
        age = abs(self._now() - generation.created_at)  # the wall clock may have been put back
        return generation.generation_id in self._submitting or age < FOREIGN_SUBMIT_SECONDS


def request_hash(request: SubmitRequest, count: int = 1) -> str:
    """Return a hash of all arguments, to recognise a repeated request.

    Args:
        count: Number of images that are requested together.
    """
    arguments = request.body() if count == 1 else {**request.body(), "count": count}
    canonical = json.dumps(arguments, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return hashlib.sha256(canonical).hexdigest()


def options_text(request: SubmitRequest) -> str | None:
    """Return the arguments besides prompt and model as text; of the references their number, since they may be huge."""
    options = [value for value in (request.aspect_ratio, request.image_size) if value]
    if request.images:
        options.append(f"{len(request.images)} reference{'s' if len(request.images) > 1 else ''}")
    return ", ".join(options) or None


def _is_server_error(error: DefapiError) -> bool:
    return isinstance(error, Refused) and error.status is not None and error.status >= 500


def _failure_message(errors: list[DefapiError]) -> str:
    sent = sum(not isinstance(error, NotSent) for error in errors)
    times = f"{sent} times" if sent > 1 else "once"
    attempts = " ".join(f"{number}. {error.message}" for number, error in enumerate(errors, 1))
    return (  # what may have been charged comes first: a list of several images shortens the rest
        f"The request was sent {times} and the API did not accept it. It did not report a task, or say whether "
        f"anything was charged. {attempts}"
    )
