"""Makes one picture, once: whoever asks again, goes away, or dies in between; and writes down what that needs."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio
from anyio.abc import TaskGroup

from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import DefapiError, NotSent, OutcomeUnknown, Refused
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.instrumentation import NO_INSTRUMENTATION, Instrumentation
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.quotas import Accounts, Check
from nano_banana_mcp.ledger.base import Ledger

LOOK_AGAIN_SECONDS = 0.25
OTHERS_SUBMIT_SECONDS = 15.0


class RequestIdTaken(ValueError):
    """A ``request_id`` that was used before, for another request."""


class Submitter:
    """Turns an intent into a task of the API, with the ledger as its memory.

    Args:
        tasks: Where the paid attempts run, apart from their callers.
        accounts: Who may use what.
        now: Wall-clock time, Unix seconds.
    """

    def __init__(
        self,
        client: DefapiClient,
        ledger: Ledger,
        tasks: TaskGroup,
        accounts: Accounts,
        now: Callable[[], float],
        telemetry: Instrumentation = NO_INSTRUMENTATION,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._tasks = tasks
        self._accounts = accounts
        self._now = now
        self._telemetry = telemetry
        self._submitting: set[str] = set()

    async def submit_once(
        self, request: SubmitRequest, intent: Generation, ready: Callable[[SubmitRequest], Awaitable[SubmitRequest]]
    ) -> Generation:
        """What the same ``request_id`` led to before, or a new task; in state ``unknown`` where nobody can tell.

        Args:
            ready: Brings the request into the form that is sent; not needed for what was made before.

        Raises:
            DefapiError: nothing was made; so it is with whatever ``ready`` raises.
            RequestIdTaken: the ``request_id`` stands for another request.
            LimitReached: the caller may not make it now; nothing was sent.
            LedgerError: it cannot be told whether the request was made before; nothing was sent.
        """
        return await self._made_before(intent) or await self._make_apart(await ready(request), intent)

    async def _made_before(self, intent: Generation) -> Generation | None:
        """What the same ``request_id`` led to; its submit may still be under way, here or in another process."""
        if intent.request_id is None:
            return None
        request_id, api, principal = intent.request_id, intent.api, intent.principal
        while (earlier := await self._ledger.find_request(request_id, api, principal)) is not None:
            if earlier.request_hash != intent.request_hash:
                raise RequestIdTaken
            if not self._under_way(earlier):
                self._telemetry.repeated(earlier)
                return honest(earlier)
            await anyio.sleep(LOOK_AGAIN_SECONDS)
        return None

    def _under_way(self, known: Generation) -> bool:
        if known.task_id is not None or known.message is not None:
            return False
        # Whether another process still lives cannot be known: its submit gets the benefit of the doubt for a while.
        ago = abs(self._now() - known.created_at)  # the wall clock may have been put back
        return known.generation_id in self._submitting or ago < OTHERS_SUBMIT_SECONDS

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
        journal = SubmitJournal(self._ledger, intent, self._now, self._accounts.quotas.check_for(intent.principal))
        self._submitting.add(intent.generation_id)
        try:
            with self._telemetry.submitting(intent):
                await self._client.submit(request, journal, key=self._accounts.key_of(intent.principal))
        except OutcomeUnknown:
            pass  # the journal has the words for it
        except MadeMeanwhile:
            return await self._made_before(intent) or await self._make(request, intent)
        finally:
            self._submitting.discard(intent.generation_id)
        return journal.generation


logger = logging.getLogger(__name__)

UNKNOWN_OUTCOME = (
    "It was sent, or about to be, but no answer was recorded. The picture may have been charged. It is never sent "
    "again by itself."
)


class MadeMeanwhile(Exception):
    """Another call with the same ``request_id`` was faster."""


class SubmitJournal:
    """Writes down one submit: the intent before each attempt, what became of it after.

    Args:
        check: Whether the caller may have another task.

    Attributes:
        generation: The intent, and then what became of it.
    """

    def __init__(
        self, ledger: Ledger, intent: Generation, now: Callable[[], float], check: Check | None = None
    ) -> None:
        self._ledger = ledger
        self._now = now
        self._check = check
        self.generation = intent

    async def before(self) -> None:
        """Raise if somebody else has made this request meanwhile, or the caller may not make it."""
        written = await self._ledger.begin(self.generation, self._check)
        if written.generation_id != self.generation.generation_id:
            raise MadeMeanwhile

    async def after(self, outcome: str | DefapiError) -> None:
        """Keep the id, or the honest words for what is not known; forget what was not made."""
        if isinstance(outcome, Refused | NotSent):
            await self._ledger.forget(self.generation.generation_id)
            return
        if isinstance(outcome, str):
            self.generation = self.generation.accepted(outcome, self._now())
            logger.info("task %s submitted to %s", outcome, self.generation.model, extra={"task_id": outcome})
        else:
            self.generation = replace(self.generation, message=outcome.message)
            logger.warning("the outcome of a submit is unknown; it is kept as %s", self.generation.generation_id)
        await self._ledger.save(self.generation)
        # A callback may have been faster than the answer, and may know what the answer does not.
        self.generation = await self._ledger.find(self.generation.generation_id) or self.generation


def honest(known: Generation) -> Generation:
    """With words for an outcome that nobody recorded."""
    return known if known.task_id or known.message else replace(known, message=UNKNOWN_OUTCOME)


def hash_of(request: SubmitRequest) -> str:
    """A hash of all that is asked for, to tell a repeated request from another."""
    canonical = json.dumps(request.body(), sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return hashlib.sha256(canonical).hexdigest()


def in_words(request: SubmitRequest) -> str | None:
    """What is asked for besides prompt and model; of references only their number, since they may be huge."""
    words = [value for value in (request.aspect_ratio, request.image_size) if value]
    if request.images:
        words.append(f"{len(request.images)} reference{'s' if len(request.images) > 1 else ''}")
    return ", ".join(words) or None
