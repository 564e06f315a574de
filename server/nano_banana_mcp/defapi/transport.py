"""Send one request and read its complete answer within a time limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from nano_banana_mcp.common.certificates import UnusableCertificates, tls_context
from nano_banana_mcp.common.proxies import Proxy, UnusableProxy, proxy_for
from nano_banana_mcp.common.tracing import answered
from nano_banana_mcp.common.user_agent import USER_AGENT
from nano_banana_mcp.defapi.responses import Answer

if TYPE_CHECKING:
    import httpx

MAX_CONNECT_SECONDS = 10.0
MAX_SILENCE_SECONDS = 6.0
"""Read timeout of a query: the next query is worth more than a hanging one. A growing answer may take longer."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Fits four images of about 10 MB as base64."""

BURST_SECONDS = 4.0
"""A burst may contain the queries of this many seconds."""


SANDBOX_HEADER = "X-Nano-Banana-Sandbox"
"""Header, with the value 1, of all answers of a sandbox."""


class Connection:
    """HTTP connections to the API, opened with the first request.

    Attributes:
        is_sandbox: Whether the last answer was that of a sandbox.
    """

    def __init__(self, base_url: str, timeout_seconds: float) -> None:
        self._base_url = base_url
        self._timeout = timeout_seconds
        self._paid_http: httpx.AsyncClient | None = None
        self._free_http: httpx.AsyncClient | None = None
        self._proxy: Proxy | None = None
        self.is_sandbox = False

    async def aclose(self) -> None:
        """Close all connections."""
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
        """Send one request and return its complete answer.

        Args:
            seconds: Time limit for the whole exchange.

        Raises:
            Broken: There is no complete answer.
        """
        import httpx

        paid = method == "POST"
        received, sent = bytearray(), _Sent()
        reason: str
        try:
            # httpx limits each read; a slowly dripping body needs a deadline for the whole exchange.
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
                    self.is_sandbox = response.headers.get(SANDBOX_HEADER) == "1"
                    async for chunk in response.aiter_bytes():
                        received += chunk
                        if len(received) > MAX_ANSWER_BYTES:
                            raise Broken("its answer is too large", sent=True, received=bytes(received))
                    return Answer(response.status_code, bytes(received), response.headers.get("retry-after"))
        except TimeoutError:
            reason = f"no answer within {seconds:g} s"
        # A TLS stream that breaks may raise a bare SSLError, which is an OSError.
        except (httpx.RequestError, httpx.InvalidURL, OSError) as error:
            reason = failure_reason(error, self._proxy)
        # Raised outside the handlers: an httpx error as its context would hold the request and the key.
        raise Broken(reason, sent=bool(sent), received=bytes(received))

    def _http(self, *, paid: bool) -> httpx.AsyncClient:
        if paid:
            # A server may close a kept-alive connection while it is reused, and then it is unclear whether it read the
            # request. So each submit opens a connection.
            self._paid_http = self._paid_http or self._new_http(keep=0, read_timeout=self._timeout)
            return self._paid_http
        silence = min(self._timeout, MAX_SILENCE_SECONDS)
        self._free_http = self._free_http or self._new_http(keep=32, read_timeout=silence)
        return self._free_http

    def _new_http(self, *, keep: int, read_timeout: float) -> httpx.AsyncClient:
        import httpx

        connect = min(self._timeout, MAX_CONNECT_SECONDS)
        try:
            self._proxy = proxy_for(self._base_url)
            return httpx.AsyncClient(
                proxy=None if self._proxy is None else self._proxy.for_httpx(),
                trust_env=False,  # httpx fails on any variable that it cannot parse
                verify=tls_context() if self._base_url.startswith("https:") else False,
                timeout=httpx.Timeout(self._timeout, connect=connect, read=read_timeout, pool=None),
                # DefapiClient limits the concurrency; the pool of httpx would scan all waiting requests at each step.
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=keep),
                headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
            )
        except (UnusableProxy, UnusableCertificates) as error:
            reason = str(error)
        raise Broken(reason, sent=False, received=b"")


class Broken(Exception):
    """There is no complete answer; the message says why.

    Attributes:
        sent: Whether any byte of the request may have been sent.
        received: The received part of the body.
    """

    def __init__(self, reason: str, *, sent: bool, received: bytes) -> None:
        super().__init__(reason)
        self.sent = sent
        self.received = received


class _Sent:
    """Records, by the trace hook of httpcore, whether any byte of a request may have been sent."""

    def __init__(self) -> None:
        self._started = False

    def __bool__(self) -> bool:
        return self._started

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            # The CONNECT request to a proxy reports to the same hook.
            self._started = self._started or info["request"].method != b"CONNECT"


def failure_reason(error: Exception, proxy: Proxy | None) -> str:
    """Why a request got no complete answer, in words that name no address and no key.

    Args:
        error: What httpx or the TLS layer raised.
        proxy: The proxy that the request went through; None if it was direct.
    """
    import ssl

    import httpx

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "its certificate is not trusted here (SSL_CERT_FILE names authorities to trust)"
        if isinstance(cause, ssl.SSLError):
            return "TLS broke"
        cause = cause.__cause__ or cause.__context__
    if proxy is not None and (reason := proxy.describe_failure(error)):
        return reason
    reasons: tuple[tuple[type[Exception], str], ...] = (
        (httpx.ConnectTimeout, "connecting took too long"),
        (httpx.ConnectError, "the connection was refused or the name does not resolve"),
        (httpx.TimeoutException, "it took too long"),
        (httpx.RemoteProtocolError, "the connection was closed early"),
        (httpx.NetworkError, "the connection broke"),
        (httpx.DecodingError, "the answer could not be decoded"),
        (httpx.InvalidURL, "its address cannot be used"),
    )
    return next((reason for kind, reason in reasons if isinstance(error, kind)), "the connection failed")


class QueryRateLimit:
    """Rate limit of queries, first come, first served.

    Args:
        per_second: Maximum average rate; None for no limit.
    """

    def __init__(self, per_second: float | None) -> None:
        self._interval = 0.0 if per_second is None else 1.0 / per_second
        self._reserved_until = float("-inf")
        self._lock = anyio.Lock(fast_acquire=True)

    async def take(self) -> None:
        """Wait for the turn of this query. A cancelled wait uses up nothing."""
        if not self._interval:
            return
        async with self._lock:
            now = anyio.current_time()
            due = max(self._reserved_until, now - BURST_SECONDS) + self._interval
            if due > now:
                await anyio.sleep_until(due)
            self._reserved_until = due
