"""The client of the image API: ``submit`` → ``_post``; ``query``, ``credits`` → ``_get``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio

from nano_banana_mcp.common.tracing import name_task, request_span
from nano_banana_mcp.defapi import responses
from nano_banana_mcp.defapi.errors import DefapiError, KeyMissing, NoAnswer, OutcomeUnknown, Unreachable
from nano_banana_mcp.defapi.responses import MAY_HAVE_BEEN_CHARGED, Answer
from nano_banana_mcp.defapi.schemas import SubmitRequest, TaskSnapshot
from nano_banana_mcp.defapi.transport import Broken, Connection, QueryRateLimit

if TYPE_CHECKING:
    from pydantic import SecretStr

MAX_QUERY_SECONDS = 30.0

MIN_SECRET = 6
"""A shorter key is not masked in messages: it would match ordinary text."""

MAX_MASKED_CHARACTERS = 20_000
"""Length of a text in which the key is masked. Base64 of an image is longer, and may contain a short key by chance."""


class DefapiClient:
    """Client of the image API. Close it with :meth:`aclose`.

    Args:
        base_url: Address of the API without a trailing slash.
        key: The API key, or None.
        key_problem: Why there is no key, for the error message.
        stored_key: Returns the key to use without ``key``; called in a thread for every request, so that a changed
            key is used at once.
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
        stored_key: Callable[[], SecretStr | None] = lambda: None,
        timeout_seconds: float = 60.0,
        concurrency: int = 64,
        queries_per_second: float | None = None,
    ) -> None:
        self.base_url = base_url
        self._host = urlsplit(base_url).hostname
        self._key = key
        self._key_problem = key_problem or "No API key is set."
        self._stored_key = stored_key
        self._timeout = timeout_seconds
        self._connection = Connection(base_url, timeout_seconds)
        self._submits, self._queries = anyio.Semaphore(concurrency), anyio.Semaphore(concurrency)
        self._query_rate = QueryRateLimit(queries_per_second)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connection.aclose()

    @property
    def is_sandbox(self) -> bool:
        """Whether an answer said that the API is a sandbox: its credits are no money."""
        return self._connection.is_sandbox

    async def submit(self, request: SubmitRequest, *, key: SecretStr | None = None) -> str:
        """Send one paid request and return the task id. It is never repeated here.

        Once it has begun to send, it runs to its end, at most ``timeout_seconds``, even if its scope is cancelled.

        Args:
            key: Whose account pays, if not the server's.

        Raises:
            NotSent: it never left this machine.
            Refused: the API will not do it.
            OutcomeUnknown: it may have been charged.
        """
        secret = await self._require_key(key)
        async with self._submits:
            with anyio.CancelScope(shield=True):
                try:
                    with request_span("defapi.submit", "POST", self._host, gen_ai__request__model=request.model):
                        task_id = await self._post(request, secret)
                        name_task(task_id)
                except DefapiError as error:
                    error.message = _without_key(error.message, secret)
                    raise
        return task_id

    async def query(self, task_id: str, *, key: SecretStr | None = None) -> TaskSnapshot:
        """Query the state of a task once. A query is free.

        Args:
            task_id: The id of the task.
            key: The API key that created the task; None for the key of the server.

        Raises:
            NotSent, Refused, NoAnswer: As their classes say.
        """
        secret = await self._require_key(key, is_query=True)
        with _query_errors(secret), request_span("defapi.query", "GET", self._host, nano_banana__task_id=task_id):
            answer = await self._get("/api/task/query", {"task_id": task_id}, secret)
            snapshot = responses.read_query(answer)
        reason = None if snapshot.reason is None else _without_key(snapshot.reason, secret)
        texts = tuple(_without_key(text, secret) for text in snapshot.texts)
        answer = _value_without_key(snapshot.answer, secret)
        return snapshot.model_copy(update={"reason": reason, "texts": texts, "answer": answer})

    async def credits(self, *, key: SecretStr | None = None) -> str:
        """Return the remaining credits of the account as a decimal string.

        Args:
            key: The API key of the account; None for the key of the server.

        Raises:
            NotSent, Refused, NoAnswer: As their classes say.
        """
        secret = await self._require_key(key, is_query=True)
        with _query_errors(secret), request_span("defapi.credits", "GET", self._host):
            return responses.read_account(await self._get("/api/user", {}, secret))

    async def _post(self, request: SubmitRequest, secret: str) -> str:
        try:
            answer = await self._connection.send(
                "POST", "/api/image/gen", key=secret, seconds=self._timeout, json=request.body()
            )
        except Broken as broken:
            if not broken.sent:
                raise self._unreachable(broken) from broken
            task_id = responses.task_id_in_fragment(broken.received)
            if task_id:
                return task_id
            raise OutcomeUnknown(
                f"The request was sent, but no complete answer of the image API arrived ({broken}). "
                f"{MAY_HAVE_BEEN_CHARGED}"
            ) from broken
        return responses.read_submit(answer)

    async def _get(self, path: str, params: dict[str, str], secret: str) -> Answer:
        seconds = min(self._timeout, MAX_QUERY_SECONDS)
        try:
            async with self._queries:
                await self._query_rate.take()  # last, so that a reserved turn is used
                return await self._connection.send("GET", path, key=secret, seconds=seconds, params=params)
        except Broken as broken:
            if not broken.sent:
                raise self._unreachable(broken) from broken
            raise NoAnswer(f"The image API gave no complete answer ({broken}).") from broken

    def _unreachable(self, broken: Broken) -> Unreachable:
        host = urlsplit(self.base_url).netloc
        return Unreachable(f"The image API at {host} could not be reached: {broken}.")

    async def _require_key(self, own: SecretStr | None = None, *, is_query: bool = False) -> str:
        key = own or self._key or await anyio.to_thread.run_sync(self._stored_key)
        if key is None:
            missing = KeyMissing(self._key_problem)
            missing.is_query = is_query
            raise missing
        return key.get_secret_value().strip()


@contextmanager
def _query_errors(secret: str) -> Iterator[None]:
    """Mark errors of the block as errors of a query, which is free, and mask the key in them."""
    try:
        yield
    except DefapiError as error:
        error.is_query = True
        error.message = _without_key(error.message, secret)
        raise


def _value_without_key(value: Any, secret: str) -> Any:
    """Mask the key in every short text of a JSON value; a long one is an image."""
    if isinstance(value, dict):
        return {name: _value_without_key(item, secret) for name, item in value.items()}
    if isinstance(value, list):
        return [_value_without_key(item, secret) for item in value]
    return _without_key(value, secret) if isinstance(value, str) and len(value) < MAX_MASKED_CHARACTERS else value


def _without_key(text: str, secret: str) -> str:
    """Mask the key in a message of the API: some APIs repeat a wrong key."""
    return text.replace(secret, "***") if len(secret) >= MIN_SECRET else text
