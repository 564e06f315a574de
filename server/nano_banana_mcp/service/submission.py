"""Submits a request once: recorded before anything is sent, and never repeated for the same ``request_id``."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import stamina
from anyio.abc import TaskGroup

from nano_banana_mcp.defapi import retry
from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import DefapiError, NotSent, OutcomeUnknown, Refused, SubmitFailed
from nano_banana_mcp.defapi.responses import MAY_HAVE_BEEN_CHARGED
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.instrumentation import NO_INSTRUMENTATION, Instrumentation
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.quotas import Callers
from nano_banana_mcp.ledger.base import Ledger

if TYPE_CHECKING:
    from pydantic import SecretStr

logger = logging.getLogger(__name__)

RECHECK_SECONDS = 0.25
"""Pause between two looks at a request that another call is submitting."""

FOREIGN_SUBMIT_SECONDS = 15.0
"""How long the unrecorded submit of another process is taken to be under way."""


FAILED_WHILE_SUBMITTING = f"The server failed while it was submitting. {MAY_HAVE_BEEN_CHARGED}"


class RequestIdTaken(ValueError):
    """The ``request_id`` was used before for another request."""


class _AlreadyRecorded(Exception):
    """Another call with the same ``request_id`` recorded its generation first."""


class Submitter:
    """Submits requests to the API, each in a task of its own, so that no way of ending the caller cuts a paid request.

    Args:
        tasks: Runs the submits.
        callers: Keys and limits of the callers.
        now: Wall-clock time, Unix seconds.
    """

    def __init__(
        self,
        client: DefapiClient,
        ledger: Ledger,
        tasks: TaskGroup,
        callers: Callers,
        now: Callable[[], float],
        instrumentation: Instrumentation = NO_INSTRUMENTATION,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._tasks = tasks
        self._callers = callers
        self._now = now
        self._instrumentation = instrumentation
        self._submitting: dict[str, anyio.CancelScope] = {}
        self._submit_ended = anyio.Event()
        self._is_draining = False

    async def find_repeated(self, generation: Generation) -> Generation | None:
        """Return what the same ``request_id`` led to before; None if it is new, or may be submitted again.

        Waits while another call, here or in another process, is submitting it.

        Raises:
            RequestIdTaken: it was used for another request.
            LedgerError: the ledger cannot be read.
        """
        if generation.request_id is None:
            return None
        request_id, api, principal = generation.request_id, generation.api, generation.principal
        while (earlier := await self._ledger.find_request(request_id, api, principal)) is not None:
            if earlier.request_hash != generation.request_hash:
                raise RequestIdTaken
            if not self._is_being_submitted(earlier):
                self._instrumentation.repeated(earlier)
                return earlier.with_message()
            await anyio.sleep(RECHECK_SECONDS)
        return None

    async def submit_once(self, request: SubmitRequest, generation: Generation) -> Generation:
        """Record the generation, submit the request, and record the outcome.

        Cancelling the caller ends the pauses between attempts, but no attempt.

        Args:
            request: Its references are in the form that the API reads.
            generation: The new generation, without a task id.

        Returns:
            The accepted generation; one of status ``unknown`` if it may have been charged; or the earlier one, if
            another call with the same ``request_id`` was faster.

        Raises:
            DefapiError: no task was made.
            RequestIdTaken: the ``request_id`` was used for another request.
            LimitReached: a limit of the caller or the server; nothing was sent.
            LedgerError: the generation could not be recorded; nothing was sent.
        """
        results: list[Generation] = []
        errors: list[Exception] = []
        ended = anyio.Event()
        pauses = anyio.CancelScope()

        async def run() -> None:
            try:
                results.append(await self._submit(request, generation, pauses))
            except Exception as error:  # noqa: BLE001 - the edge of this task: raised again by the caller
                errors.append(error)
            finally:
                ended.set()

        self._tasks.start_soon(run)
        try:
            await ended.wait()
        finally:
            pauses.cancel()
        if errors and isinstance(errors[0], _AlreadyRecorded):
            return await self.find_repeated(generation) or await self.submit_once(request, generation)
        if errors:
            raise errors[0]
        if not results:  # the service is ending, and the cancellation of this caller is on its way
            await anyio.sleep_forever()
        return results[0]

    async def settled(self) -> None:
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

    async def _submit(self, request: SubmitRequest, generation: Generation, pauses: anyio.CancelScope) -> Generation:
        """The write before the POST, the attempts, and the write after them."""
        backoff = retry.Backoff()
        check = self._callers.quotas.check_for(generation.principal)
        key = self._callers.key_of(generation.principal)
        outcome: str | DefapiError | None = None
        self._submitting[generation.generation_id] = pauses
        try:
            with self._instrumentation.submitting(generation):
                recorded = await self._ledger.begin(generation, check)
                if recorded.generation_id != generation.generation_id:
                    raise _AlreadyRecorded
                try:
                    outcome = await self._send(request, key, backoff, pauses)
                except Exception:
                    logger.exception("A submit failed unexpectedly.")
                finally:
                    outcome = outcome or OutcomeUnknown(FAILED_WHILE_SUBMITTING)
                    with anyio.CancelScope(shield=True):
                        generation = await self._record(generation, outcome, backoff.errors)
                if isinstance(outcome, DefapiError):
                    raise outcome
        except OutcomeUnknown:
            pass  # the message of the generation says what that means
        except Refused as error:
            if generation.status is not Status.FAILED:
                raise
            raise SubmitFailed(generation.message or error.message, status=error.status) from error
        finally:
            del self._submitting[generation.generation_id]
            self._submit_ended.set()
            self._submit_ended = anyio.Event()
        return generation

    async def _send(
        self, request: SubmitRequest, key: SecretStr | None, backoff: retry.Backoff, pauses: anyio.CancelScope
    ) -> str | DefapiError:
        """Return the task id, or the error of the last attempt."""
        if self._is_draining:
            pauses.cancel()
        try:
            with pauses:
                await anyio.lowlevel.checkpoint()  # a caller who left before the POST pays nothing
                async for attempt in stamina.retry_context(backoff, attempts=retry.MAX_ATTEMPTS, timeout=None):
                    with attempt:
                        return await self._client.submit(request, key=key)
        except DefapiError as error:
            return error
        if backoff.errors:
            return backoff.errors[-1]
        return NotSent("The server is shutting down, or the call was cancelled.", hint="Try again in a moment.")

    async def _record(
        self, generation: Generation, outcome: str | DefapiError, answers: list[DefapiError]
    ) -> Generation:
        """Record the task id or what is known without one; remove the record of what certainly was not made."""
        if isinstance(outcome, str):
            generation = generation.accepted(outcome, self._now())
            logger.info("task %s submitted to %s", outcome, generation.model, extra={"task_id": outcome})
        elif isinstance(outcome, OutcomeUnknown):
            generation = replace(generation, message=outcome.message)
            logger.warning("The outcome of submit %s is unknown.", generation.generation_id)
        elif any(_is_server_error(answer) for answer in answers):
            # Without its request_id, so that the same request may be submitted again.
            generation = replace(
                generation,
                status=Status.FAILED,
                request_id=None,
                message=_failure_message(answers),
                finished_at=self._now(),
            )
        else:
            await self._ledger.forget(generation.generation_id)
            return generation
        # A callback may have been faster than the answer, and may have settled an unknown outcome.
        return await self._ledger.save(generation)

    def _is_being_submitted(self, generation: Generation) -> bool:
        if generation.task_id is not None or generation.message is not None:
            return False
        # Whether another process is alive is not known: its submit is taken to be under way for a while.
        age = abs(self._now() - generation.created_at)  # the wall clock may have been put back
        return generation.generation_id in self._submitting or age < FOREIGN_SUBMIT_SECONDS


def request_hash(request: SubmitRequest) -> str:
    """Return a hash of all arguments, to recognise a repeated request."""
    canonical = json.dumps(request.body(), sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return hashlib.sha256(canonical).hexdigest()


def options_text(request: SubmitRequest) -> str | None:
    """Return the arguments besides prompt and model as text; of the references their number, since they may be huge."""
    options = [value for value in (request.aspect_ratio, request.image_size) if value]
    if request.images:
        options.append(f"{len(request.images)} reference{'s' if len(request.images) > 1 else ''}")
    return ", ".join(options) or None


def asked_format(options: str | None) -> str:
    """Return the format and size of :func:`options_text`, as in "16:9 4k"; empty if neither was asked for."""
    return " ".join(option for option in (options or "").split(", ") if option and "reference" not in option)


def _is_server_error(error: DefapiError) -> bool:
    return isinstance(error, Refused) and error.status is not None and error.status >= 500


def _failure_message(answers: list[DefapiError]) -> str:
    times = f"{len(answers)} times" if len(answers) > 1 else "once"
    replies = " ".join(f"{number}. {answer.message}" for number, answer in enumerate(answers, 1))
    return (
        f"The request was sent {times} and the API did not accept it. {replies} "
        "The API did not report a task, and did not say whether anything was charged."
    )
