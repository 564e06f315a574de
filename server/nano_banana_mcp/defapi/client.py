"""The client of the image API: ``submit`` → ``_attempt`` → ``_send``; ``query`` and ``credits`` → ``_send``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel

from nano_banana_mcp import __version__
from nano_banana_mcp.defapi import answers, retry
from nano_banana_mcp.defapi.answers import MAY_HAVE_BEEN_CHARGED, Answer
from nano_banana_mcp.defapi.errors import DefapiError, KeyMissing, NoAnswer, OutcomeUnknown, Unreachable
from nano_banana_mcp.defapi.wire import SubmitRequest, TaskSnapshot

if TYPE_CHECKING:
    import ssl

    import httpx
    from pydantic import SecretStr

USER_AGENT = f"Mozilla/5.0 (compatible; nano-banana-mcp/{__version__})"

LONGEST_CONNECT_SECONDS = 10.0
LONGEST_QUERY_SECONDS = 15.0
"""A query that hangs is worth less than the next one."""

LARGEST_ANSWER_BYTES = 64 * 1024 * 1024
"""Room for four pictures of about 10 MB as base64."""

Settle = Callable[[str | DefapiError], Awaitable[None]]
"""Told how one paid attempt ended: the task id, or the error."""


class DefapiClient:
    """Talks to the image API. Close it with :meth:`aclose`.

    Args:
        base_url: Where the API is, without a trailing slash.
        key: The API key, or None.
        key_problem: Why there is no key, for the error that a call then gets.
        timeout_seconds: Longest time for one whole request, answer included.
    """

    def __init__(
        self,
        base_url: str,
        key: SecretStr | None,
        *,
        key_problem: str | None = None,
        timeout_seconds: float = 60.0,
    ) -> None:
        self.base_url = base_url
        self._key = key
        self._key_problem = key_problem or "No API key is set."
        self._timeout = timeout_seconds
        self._paid_http: httpx.AsyncClient | None = None
        self._free_http: httpx.AsyncClient | None = None
        self._tls: ssl.SSLContext | None = None
        self._open_attempts = 0
        self._attempt_over = anyio.Event()

    async def aclose(self) -> None:
        """Close the connections."""
        for http in (self._paid_http, self._free_http):
            if http is not None:
                await http.aclose()
        self._paid_http = self._free_http = None

    async def submit(self, request: SubmitRequest, *, settle: Settle | None = None) -> str:
        """Ask for a picture and return its task id. This spends credits.

        It is repeated only after failures that prove that nothing was made, at most
        :data:`~nano_banana_mcp.defapi.retry.ATTEMPTS` times in all. Each attempt, together with ``settle``,
        runs to its end even if the caller is cancelled; the pauses between attempts do not.

        Raises:
            NotSent: it never left this machine.
            Refused: the API will not do it.
            OutcomeUnknown: it may have been charged.
        """
        self._require_key()
        import stamina

        task_id = ""
        async for attempt in stamina.retry_context(on=retry.Backoff(), attempts=retry.ATTEMPTS, timeout=None):
            await anyio.lowlevel.checkpoint()  # a caller who has gone before the POST pays nothing
            with attempt, anyio.CancelScope(shield=True):
                task_id = await self._attempt(request, settle)
        return task_id

    async def query(self, task_id: str) -> TaskSnapshot:
        """The state of a task, asked once.

        Raises:
            NotSent, Refused, NoAnswer: see their words; asking again is always free.
        """
        answer = await self._ask("/api/task/query", {"task_id": task_id})
        return answers.read_query(answer)

    async def credits(self) -> str:
        """The credits left on the account, as a decimal string.

        Raises:
            NotSent, Refused, NoAnswer: as :meth:`query`.
        """
        return answers.read_account(await self._ask("/api/user", {}))

    async def settled(self) -> None:
        """Return when no submit is under way and unrecorded."""
        while self._open_attempts:
            await self._attempt_over.wait()

    async def _attempt(self, request: SubmitRequest, settle: Settle | None) -> str:
        outcome: str | DefapiError
        self._open_attempts += 1
        try:
            try:
                outcome = await self._submit_once(request)
            except DefapiError as error:
                outcome = error
            if settle is not None:
                await settle(outcome)
        finally:
            self._open_attempts -= 1
            self._attempt_over.set()
            self._attempt_over = anyio.Event()
        if isinstance(outcome, DefapiError):
            raise outcome
        return outcome

    async def _submit_once(self, request: SubmitRequest) -> str:
        received = bytearray()
        sent = _Sent()
        try:
            answer = await self._send(
                "POST",
                "/api/image/gen",
                json=request.body(),
                seconds=self._timeout,
                received=received,
                sent=sent,
            )
        except _Broken as broken:
            if not sent:
                raise Unreachable(f"The image API at {self._host} could not be reached: {broken}.") from broken
            task_id = answers.task_id_in_fragment(bytes(received))
            if task_id:
                return task_id
            raise OutcomeUnknown(
                f"The request was sent, but no whole answer of the image API arrived ({broken}). "
                f"{MAY_HAVE_BEEN_CHARGED}"
            ) from broken
        return answers.read_submit(answer)

    async def _ask(self, path: str, params: dict[str, str]) -> Answer:
        self._require_key()
        sent = _Sent()
        try:
            return await self._send(
                "GET", path, params=params, seconds=min(self._timeout, LONGEST_QUERY_SECONDS), sent=sent
            )
        except _Broken as broken:
            if not sent:
                raise Unreachable(f"The image API at {self._host} could not be reached: {broken}.") from broken
            raise NoAnswer(f"The image API gave no whole answer ({broken}).") from broken

    async def _send(
        self,
        method: str,
        path: str,
        *,
        seconds: float,
        sent: _Sent,
        received: bytearray | None = None,
        params: dict[str, str] | None = None,
        json: Any = None,
    ) -> Answer:
        """One request and its whole answer within ``seconds``, or :class:`_Broken`."""
        import httpx

        body = bytearray() if received is None else received
        http, key = self._http(paid=method == "POST"), self._require_key()
        try:
            # httpx bounds each read, not their sum: a body that drips needs the deadline around all of it.
            with anyio.fail_after(seconds):
                async with http.stream(
                    method,
                    self.base_url + path,
                    params=params,
                    json=json,
                    headers={"Authorization": f"Bearer {key}"},
                    extensions={"trace": sent.trace},
                ) as response:
                    async for chunk in response.aiter_bytes():
                        body += chunk
                        if len(body) > LARGEST_ANSWER_BYTES:
                            raise _Broken("its answer is larger than any picture")
                    # Some APIs repeat a wrong key in their error; ours must not go on from here.
                    whole = bytes(body).replace(key.encode(), b"***")
                    return Answer(response.status_code, whole, response.headers.get("retry-after"))
        except TimeoutError as error:
            raise _Broken(f"no answer within {seconds:g} s") from error
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise _Broken(_why(error)) from error

    def _http(self, *, paid: bool) -> httpx.AsyncClient:
        if paid:
            # A kept-alive connection may be closed by the server in the moment of reuse, and then nobody
            # knows whether the request was read: a submit always gets a connection of its own.
            self._paid_http = self._paid_http or self._new_http(keep=0)
            return self._paid_http
        self._free_http = self._free_http or self._new_http(keep=32)
        return self._free_http

    def _new_http(self, *, keep: int) -> httpx.AsyncClient:
        import httpx

        self._tls = self._tls or httpx.create_ssl_context()
        return httpx.AsyncClient(
            verify=self._tls,
            timeout=httpx.Timeout(self._timeout, connect=min(self._timeout, LONGEST_CONNECT_SECONDS), pool=None),
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=keep),
            headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
        )

    def _require_key(self) -> str:
        if self._key is None:
            raise KeyMissing(self._key_problem)
        return self._key.get_secret_value().strip()

    @property
    def _host(self) -> str:
        return urlsplit(self.base_url).netloc


class _Broken(Exception):
    """No whole answer; the text says why."""


class _Sent:
    """Whether any byte of a request may have left, by what the connection reports of itself."""

    def __init__(self) -> None:
        self._started = False

    def __bool__(self) -> bool:
        return self._started

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            # A proxy is first asked for a tunnel, through the same hook: that is not our request yet.
            self._started = self._started or info["request"].method != b"CONNECT"


def _why(error: Exception) -> str:
    import httpx

    known: tuple[tuple[type[Exception], str], ...] = (
        (httpx.ConnectTimeout, "connecting took too long"),
        (httpx.ConnectError, "the connection was refused or the name does not resolve"),
        (httpx.TimeoutException, "it took too long"),
        (httpx.RemoteProtocolError, "the connection was closed early"),
        (httpx.NetworkError, "the connection broke"),
    )
    return next((words for kind, words in known if isinstance(error, kind)), type(error).__name__)
