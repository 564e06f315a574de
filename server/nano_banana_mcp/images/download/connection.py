"""One request: to a checked address, with the host name for ``Host`` and TLS only, or through a proxy to the name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio

from nano_banana_mcp.common.certificates import tls_context
from nano_banana_mcp.common.proxies import Proxy
from nano_banana_mcp.images.download.url_policy import Target
from nano_banana_mcp.images.errors import ImageUnavailable

if TYPE_CHECKING:
    import ssl

    import httpx

MAX_CONNECT_SECONDS = 5.0
"""Timeout of a connection to one address; then the next address is tried."""

MAX_ADDRESSES = 4
MAX_CONNECTIONS = 64

ConnectTo = Callable[[str, int], tuple[str, int]]
"""For tests: maps a checked address and port to the address and port to connect to."""


class Connector:
    """Sends requests: ``open``, ``open_through`` → ``_send``. Adds no cookies and no credentials.

    Args:
        user_agent: Value of ``User-Agent``.
        ssl_context: Verifies certificates; None for :func:`tls_context`.
        connect_to: For tests.
    """

    def __init__(self, *, user_agent: str, ssl_context: ssl.SSLContext | None, connect_to: ConnectTo | None) -> None:
        self._user_agent = user_agent
        self._ssl_context = ssl_context
        self._connect_to = connect_to
        self._transports: dict[str | None, httpx.AsyncHTTPTransport] = {}

    async def aclose(self) -> None:
        """Close the connections."""
        while self._transports:
            _, transport = self._transports.popitem()
            await transport.aclose()

    async def open(self, target: Target, addresses: list[str]) -> httpx.Response:
        """Send the request to the first address that accepts a connection; the body is not read yet.

        Raises:
            httpx.TransportError, OSError: None accepted, or the request failed; see :func:`unavailable`.
            UnusableCertificates: As :func:`tls_context`.
        """
        import httpx

        *others, last = addresses[:MAX_ADDRESSES]
        for address in others:
            try:
                return await self._send(target, self._checked(target, address))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if _tls_error(error) is not None:
                    raise
        return await self._send(target, self._checked(target, last))

    async def open_through(self, proxy: Proxy, target: Target) -> httpx.Response:
        """Send the request through a proxy, which resolves the name; the body is not read yet.

        Raises:
            httpx.TransportError, OSError: As :meth:`open`.
            UnusableCertificates: As :func:`tls_context`.
        """
        return await self._send(target, (target.host, target.port), proxy)

    def _checked(self, target: Target, address: str) -> tuple[str, int]:
        return (address, target.port) if self._connect_to is None else self._connect_to(address, target.port)

    async def _send(self, target: Target, destination: tuple[str, int], proxy: Proxy | None = None) -> httpx.Response:
        import httpx

        opened = _Opened()
        host, port = destination
        request = httpx.Request(
            "GET",
            httpx.URL(scheme=target.scheme, host=host, port=port, raw_path=target.path.encode("ascii")),
            headers={
                "Host": target.host_header,
                "User-Agent": self._user_agent,
                "Accept": "image/*,*/*;q=0.5",
                "Accept-Encoding": "identity",
                "Connection": "close",
            },
            extensions={
                "sni_hostname": target.host,
                "timeout": {"connect": MAX_CONNECT_SECONDS},
                "trace": opened.trace,
            },
        )
        transport = self._transport(proxy)
        try:
            # The transport itself: a client would keep cookies, and read .netrc and proxy variables.
            return await transport.handle_async_request(request)
        except BaseException:
            await opened.aclose()
            raise

    def _transport(self, proxy: Proxy | None) -> httpx.AsyncHTTPTransport:
        import httpx

        key = None if proxy is None else proxy.url
        if key not in self._transports:
            # No keep-alive: the pool identifies connections by address, and one verified for one name must not be
            # used for another name at the same address.
            self._transports[key] = httpx.AsyncHTTPTransport(
                verify=self._ssl_context or tls_context(),
                trust_env=False,
                limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=0),
                proxy=None if proxy is None else proxy.for_httpx(),
            )
        return self._transports[key]


class _Opened:
    """The sockets of one request; the pool itself leaks a socket if its TLS handshake is cancelled."""

    def __init__(self) -> None:
        self._streams: list[Any] = []

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._streams.append(info["return_value"])

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            for stream in self._streams:
                await stream.aclose()


def unavailable(target: Target, error: Exception, proxy: Proxy | None = None) -> ImageUnavailable:
    """Describe a failed connection.

    Args:
        proxy: The proxy of the connection; None if it was direct.
    """
    if proxy is not None and _tls_error(error) is None and (reason := proxy.describe_failure(error)):
        return ImageUnavailable(f"The host {target.host} cannot be reached: {reason}.")
    return ImageUnavailable(f"The host {target.host} {_reason(error)}.")


def _reason(error: Exception) -> str:
    import ssl

    import httpx

    tls_error = _tls_error(error)
    if isinstance(tls_error, ssl.SSLCertVerificationError):
        return "has no valid certificate for its name"
    if tls_error is not None:
        return "does not speak TLS properly"
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "cannot be connected to"
    return "closed the connection early or broke HTTP"


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    import ssl

    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None
