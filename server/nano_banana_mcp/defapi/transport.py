"""One request and its whole answer, within a time. Knows bytes and connections, not what they mean."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio

from nano_banana_mcp import __version__
from nano_banana_mcp.common.tracing import answered
from nano_banana_mcp.common.urls import LOOPBACK_HOSTS
from nano_banana_mcp.defapi.responses import Answer

if TYPE_CHECKING:
    import ssl

    import httpx


USER_AGENT = f"Mozilla/5.0 (compatible; nano-banana-mcp/{__version__})"

MAX_CONNECT_SECONDS = 10.0
MAX_SILENCE_SECONDS = 6.0
"""Of a query. One that hangs is worth less than the next one; one that brings a large picture may take its time."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Room for four pictures of about 10 MB as base64."""


_ENVIRONMENT = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Connection:
    """The connections to the API. Nothing is opened before the first request."""

    def __init__(self, base_url: str, timeout_seconds: float) -> None:
        self._base_url = base_url
        self._timeout = timeout_seconds
        self._paid_http: httpx.AsyncClient | None = None
        self._free_http: httpx.AsyncClient | None = None
        self._tls: ssl.SSLContext | None = None

    async def aclose(self) -> None:
        """Close them."""
        for http in (self._paid_http, self._free_http):
            if http is not None:
                await http.aclose()
        self._paid_http = self._free_http = None

    async def send(
        self,
        method: str,
        path: str,
        *,
        key: str,
        seconds: float,
        params: dict[str, str] | None = None,
        json: Any = None,
    ) -> Answer:
        """One request and its whole answer within ``seconds``.

        Raises:
            Broken: there is no whole answer.
        """
        import httpx

        paid = method == "POST"
        received, sent = bytearray(), _Sent()
        why: str
        try:
            # httpx bounds each read, not their sum: a body that drips needs the deadline around all of it.
            with anyio.fail_after(seconds):
                async with self._http(paid=paid).stream(
                    method,
                    self._base_url + path,
                    params=params,
                    json=json,
                    headers={"Authorization": f"Bearer {key}"},
                    extensions={"trace": sent.trace},
                ) as response:
                    answered(response.status_code)
                    async for chunk in response.aiter_bytes():
                        received += chunk
                        if len(received) > MAX_ANSWER_BYTES:
                            raise Broken("its answer is larger than any picture", sent=True, received=bytes(received))
                    return Answer(response.status_code, bytes(received), response.headers.get("retry-after"))
        except TimeoutError:
            why = f"no answer within {seconds:g} s"
        # A TLS stream that breaks in the middle may surface as it is, an SSLError, which is an OSError.
        except (httpx.RequestError, httpx.InvalidURL, OSError) as error:
            why = _why(error)
        # Outside the handlers: httpx's errors hold the request, and with it the key.
        raise Broken(why, sent=bool(sent), received=bytes(received))

    def _http(self, *, paid: bool) -> httpx.AsyncClient:
        if paid:
            # A kept-alive connection may be closed by the server in the moment of reuse, and then nobody
            # knows whether the request was read: a submit always gets a connection of its own.
            self._paid_http = self._paid_http or self._new_http(keep=0, longest_silence=self._timeout)
            return self._paid_http
        silence = min(self._timeout, MAX_SILENCE_SECONDS)
        self._free_http = self._free_http or self._new_http(keep=32, longest_silence=silence)
        return self._free_http

    def _new_http(self, *, keep: int, longest_silence: float) -> httpx.AsyncClient:
        import httpx

        parts = urlsplit(self._base_url)
        connect = min(self._timeout, MAX_CONNECT_SECONDS)
        try:
            if parts.scheme == "https" and self._tls is None:
                self._tls = httpx.create_ssl_context()
            return httpx.AsyncClient(
                # Nothing on this machine is reached through a proxy.
                trust_env=parts.hostname not in LOOPBACK_HOSTS,
                verify=self._tls or False,
                timeout=httpx.Timeout(self._timeout, connect=connect, read=longest_silence, pool=None),
                # The client bounds them: the pool would, at each turn, go through all that wait for each of them.
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=keep),
                headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
            )
        except (OSError, ValueError, ImportError, httpx.InvalidURL):
            # Not the error's own words: they may hold a proxy's password.
            names = [name for name in _ENVIRONMENT if os.environ.get(name) or os.environ.get(name.lower())]
            raise Broken(f"{' or '.join(names) or 'the TLS set-up'} cannot be used", sent=False, received=b"") from None


class Broken(Exception):
    """No whole answer; the text says why.

    Attributes:
        sent: Whether any byte of the request may have left.
        received: What there was of the body.
    """

    def __init__(self, why: str, *, sent: bool, received: bytes) -> None:
        super().__init__(why)
        self.sent = sent
        self.received = received


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
    import ssl

    import httpx

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "its certificate is not trusted here (SSL_CERT_FILE names authorities to trust)"
        if isinstance(cause, ssl.SSLError):
            return "TLS broke"
        cause = cause.__cause__ or cause.__context__
    known: tuple[tuple[type[Exception], str], ...] = (
        (httpx.ConnectTimeout, "connecting took too long"),
        (httpx.ConnectError, "the connection was refused or the name does not resolve"),
        (httpx.TimeoutException, "it took too long"),
        (httpx.RemoteProtocolError, "the connection was closed early"),
        (httpx.NetworkError, "the connection broke"),
        (httpx.DecodingError, "the answer could not be decoded"),
        (httpx.ProxyError, "the proxy refused"),
        (httpx.InvalidURL, "its address cannot be used"),
    )
    return next((words for kind, words in known if isinstance(error, kind)), "the connection failed")


BURST_SECONDS = 4.0
"""So many seconds' worth of queries may come at once, before they are spread out."""


class QueryBudget:
    """Spreads queries so that there are at most ``per_second`` in the long run. First come, first served.

    Args:
        per_second: Queries a second; None for no limit.
    """

    def __init__(self, per_second: float | None) -> None:
        self._each = 0.0 if per_second is None else 1.0 / per_second
        self._spent_until = float("-inf")
        self._line = anyio.Lock(fast_acquire=True)

    async def take(self) -> None:
        """Return when it is this query's turn. One that is cancelled before has spent nothing."""
        if not self._each:
            return
        async with self._line:
            now = anyio.current_time()
            due = max(self._spent_until, now - BURST_SECONDS) + self._each
            if due > now:
                await anyio.sleep_until(due)
            self._spent_until = due
