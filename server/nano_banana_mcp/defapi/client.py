"""The client of the image API: ``submit`` → ``_attempt`` → ``_submit_once``; ``query``, ``credits`` → ``_ask``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import anyio

from nano_banana_mcp.common.tracing import name_task, request_span
from nano_banana_mcp.defapi import responses as answers
from nano_banana_mcp.defapi import retry
from nano_banana_mcp.defapi.errors import DefapiError, KeyMissing, NoAnswer, NotSent, OutcomeUnknown, Unreachable
from nano_banana_mcp.defapi.responses import MAY_HAVE_BEEN_CHARGED, Answer
from nano_banana_mcp.defapi.schemas import SubmitRequest, TaskSnapshot
from nano_banana_mcp.defapi.transport import Broken, Connection, QueryBudget

if TYPE_CHECKING:
    from pydantic import SecretStr

MAX_QUERY_SECONDS = 30.0

MIN_SECRET = 6
"""A shorter key is not masked in messages: it would match ordinary text."""


class Journal(Protocol):
    """Kept of a submit by whoever wants to lose none."""

    async def before(self) -> None:
        """Called before each paid attempt. What it raises stops the submit."""

    async def after(self, outcome: str | DefapiError) -> None:
        """Told how the attempt ended: the task id, or the error."""


class DefapiClient:
    """Client of the image API. Close it with :meth:`aclose`.

    Args:
        base_url: Address of the API without a trailing slash.
        key: The API key, or None.
        key_problem: Why there is no key, for the error message.
        timeout_seconds: Maximum time of one request, answer included.
        concurrency: Maximum concurrent submits, and maximum concurrent queries.
        queries_per_second: Maximum average rate of queries; None for no limit.
    """

    def __init__(
        self,
        base_url: str,
        key: SecretStr | None,
        *,
        key_problem: str | None = None,
        timeout_seconds: float = 60.0,
        concurrency: int = 64,
        queries_per_second: float | None = None,
    ) -> None:
        self.base_url = base_url
        self._host = urlsplit(base_url).hostname
        self._key = key
        self._key_problem = key_problem or "No API key is set."
        self._timeout = timeout_seconds
        self._connection = Connection(base_url, timeout_seconds)
        self._submits, self._queries = anyio.Semaphore(concurrency), anyio.Semaphore(concurrency)
        self._budget = QueryBudget(queries_per_second)
        self._draining = False
        self._pausing: set[anyio.CancelScope] = set()
        self._open_attempts = 0
        self._attempt_over = anyio.Event()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connection.aclose()

    async def submit(
        self, request: SubmitRequest, journal: Journal | None = None, *, key: SecretStr | None = None
    ) -> str:
        """Ask for a picture and return its task id. This spends credits.

        It is repeated only after failures that prove that nothing was made, at most
        :data:`~nano_banana_mcp.defapi.retry.ATTEMPTS` times in all. Each attempt, together with its entries in
        the ``journal``, runs to its end even if the caller's scope is cancelled; the pauses between attempts do not.

        Args:
            key: Whose account pays, if not the server's.

        Raises:
            NotSent: it never left this machine.
            Refused: the API will not do it.
            OutcomeUnknown: it may have been charged.
        """
        secret = self._require_key(key)
        import stamina

        task_id = ""
        ended: DefapiError = NotSent("This server is about to end.", hint="Try again in a moment.")
        with self._until_draining() as pauses:
            async for attempt in stamina.retry_context(on=retry.Backoff(), attempts=retry.ATTEMPTS, timeout=None):
                # It is left before the pause; a caller who has gone before the POST pays nothing.
                async with self._submits:
                    with attempt, anyio.CancelScope(shield=True):
                        try:
                            task_id = await self._attempt(request, journal, secret)
                        except DefapiError as error:
                            ended = error
                            raise
        if pauses.cancelled_caught and not task_id:
            raise ended
        return task_id

    def drain(self) -> None:
        """No more attempts: a submit that pauses between two ends with the error of the last. One that is under way
        goes on."""
        self._draining = True
        for pauses in self._pausing:
            pauses.cancel()

    @contextmanager
    def _until_draining(self) -> Iterator[anyio.CancelScope]:
        with anyio.CancelScope() as scope:
            self._pausing.add(scope)
            try:
                if self._draining:
                    scope.cancel()
                yield scope
            finally:
                self._pausing.discard(scope)

    async def query(self, task_id: str, *, key: SecretStr | None = None) -> TaskSnapshot:
        """Query the state of a task once. A query is free.

        Args:
            task_id: The id of the task.
            key: The API key that created the task; None for the key of the server.

        Raises:
            NotSent, Refused, NoAnswer: As their classes say.
        """
        secret = self._require_key(key, asking=True)
        with _asking(secret), request_span("defapi.query", "GET", self._host, nano_banana__task_id=task_id):
            answer = await self._ask("/api/task/query", {"task_id": task_id}, secret)
            snapshot = answers.read_query(answer)
        reason = None if snapshot.reason is None else _without_key(snapshot.reason, secret)
        texts = tuple(_without_key(text, secret) for text in snapshot.texts)
        return snapshot.model_copy(update={"reason": reason, "texts": texts})

    async def credits(self) -> str:
        """Return the remaining credits of the account as a decimal string.

        Raises:
            NotSent, Refused, NoAnswer: As their classes say.
        """
        secret = self._require_key(asking=True)
        with _asking(secret), request_span("defapi.credits", "GET", self._host):
            return answers.read_account(await self._ask("/api/user", {}, secret))

    async def settled(self) -> None:
        """Return when no submit is under way and unrecorded."""
        while self._open_attempts:
            await self._attempt_over.wait()

    async def _attempt(self, request: SubmitRequest, journal: Journal | None, secret: str) -> str:
        outcome: str | DefapiError
        self._open_attempts += 1
        try:
            if journal is not None:
                await journal.before()
            try:
                with request_span("defapi.submit", "POST", self._host, gen_ai__request__model=request.model):
                    outcome = await self._submit_once(request, secret)
                    name_task(outcome)
            except DefapiError as error:
                error.message = _without_key(error.message, secret)
                outcome = error
            if journal is not None:
                await journal.after(outcome)
        finally:
            self._open_attempts -= 1
            self._attempt_over.set()
            self._attempt_over = anyio.Event()
        if isinstance(outcome, DefapiError):
            raise outcome
        return outcome

    async def _submit_once(self, request: SubmitRequest, secret: str) -> str:
        try:
            answer = await self._connection.send(
                "POST", "/api/image/gen", key=secret, seconds=self._timeout, json=request.body()
            )
        except Broken as broken:
            if not broken.sent:
                raise self._unreachable(broken) from broken
            task_id = answers.task_id_in_fragment(broken.received)
            if task_id:
                return task_id
            raise OutcomeUnknown(
                f"The request was sent, but no complete answer of the image API arrived ({broken}). "
                f"{MAY_HAVE_BEEN_CHARGED}"
            ) from broken
        return answers.read_submit(answer)

    async def _ask(self, path: str, params: dict[str, str], secret: str) -> Answer:
        seconds = min(self._timeout, MAX_QUERY_SECONDS)
        try:
            async with self._queries:
                await self._budget.take()  # last, so that a reserved turn is used
                return await self._connection.send("GET", path, key=secret, seconds=seconds, params=params)
        except Broken as broken:
            if not broken.sent:
                raise self._unreachable(broken) from broken
            raise NoAnswer(f"The image API gave no complete answer ({broken}).") from broken

    def _unreachable(self, broken: Broken) -> Unreachable:
        host = urlsplit(self.base_url).netloc
        return Unreachable(f"The image API at {host} could not be reached: {broken}.")

    def _require_key(self, own: SecretStr | None = None, *, asking: bool = False) -> str:
        key = own or self._key
        if key is None:
            missing = KeyMissing(self._key_problem)
            missing.asking = asking
            raise missing
        return key.get_secret_value().strip()


@contextmanager
def _asking(secret: str) -> Iterator[None]:
    """Mark errors of the block as errors of a query, which is free, and mask the key in them."""
    try:
        yield
    except DefapiError as error:
        error.asking = True
        error.message = _without_key(error.message, secret)
        raise


def _without_key(text: str, secret: str) -> str:
    """Mask the key in a message of the API: some APIs repeat a wrong key."""
    return text.replace(secret, "***") if len(secret) >= MIN_SECRET else text
