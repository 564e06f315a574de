"""``serve --http``: the application under uvicorn, with a stop that answers every call."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import Callable, Iterator, Sequence

import anyio
import uvicorn
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette

from nano_banana_mcp.common.logging import announce
from nano_banana_mcp.http.app import MCP_PATH, build_application
from nano_banana_mcp.http.auth.bind_policy import check_bind, is_unspecified
from nano_banana_mcp.http.connections import (
    AcceptErrorFilter,
    LimitedConnection,
    limited_connections,
    raise_open_files_limit,
)
from nano_banana_mcp.settings import Settings

GRACE_SECONDS = 10
"""Maximum time for calls under way after a signal; waiting calls answer at once with their next step."""

CLOSE_STREAMS_SECONDS = GRACE_SECONDS - 1.0
"""Time after a signal at which streams that are still open are closed."""

KEEP_ALIVE_SECONDS = 75
"""Longer than clients and reverse proxies keep an idle connection (5 to 60 s), so that they close it first: closing
here in the moment of its reuse is an error there."""


def serve_http(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        BindRefused: others can reach the address, and callers would not be authenticated.
        SettingsError: a setting cannot be used.
        BadPrincipals: the tokens file cannot be used.
        LedgerError: the ledger cannot be used.
        OSError: the address cannot be listened on.
    """
    warnings = check_bind(settings)
    app, server = build_application(settings)
    if settings.key_problem is not None and not settings.sandbox:
        warnings.append(f"no image can be made: {settings.key_problem}")
    protocol = limited_connections(raise_open_files_limit())
    logging.getLogger("asyncio").addFilter(AcceptErrorFilter())
    with listeners(settings) as sockets:
        for url in listen_urls(sockets):
            announce(f"nano-banana-mcp serves {url}")
        for warning in warnings:
            announce(f"Warning: {warning}")
        gc.collect()
        gc.freeze()  # what is imported and built by now stays
        anyio.run(HttpServer(app, server.drain, protocol).serve, sockets)


class HttpServer(uvicorn.Server):
    """uvicorn's server, which lets waiting calls answer before it waits for all calls to end.

    Args:
        app: The application.
        drain: Makes waiting calls answer now, and closes streams that would stay open.
        protocol: The connections' limits.
    """

    def __init__(
        self, app: Starlette, drain: Callable[[], None], protocol: type[LimitedConnection] = LimitedConnection
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                lifespan="on",
                log_config=None,  # uvicorn's own would write to stdout
                access_log=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
        )
        self._drain = drain

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until :attr:`should_exit` is set or a signal comes."""
        # sse-starlette would cut off all answers at the signal; here it closes streams in shutdown() only.
        AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]  # its library has no types here
        AppStatus.should_exit = False
        await super().serve(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer the calls under way, then stop."""
        self._drain()
        closing = asyncio.get_running_loop().call_later(CLOSE_STREAMS_SECONDS, _close_streams)
        try:
            await super().shutdown(sockets)
        finally:
            closing.cancel()


def _close_streams() -> None:
    AppStatus.should_exit = True


@contextlib.contextmanager
def listeners(settings: Settings) -> Iterator[list[socket.socket]]:
    """Sockets that listen on all addresses of the settings, on one port.

    Raises:
        OSError: an address cannot be listened on.
    """
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        addresses = _without_included(settings.listen_addresses)
        has_ipv4 = any(":" not in address for address in addresses)
        for address in addresses:
            port = sockets[0].getsockname()[1] if sockets else settings.port
            dual_stack = is_unspecified(address) and not has_ipv4 and socket.has_dualstack_ipv6()
            sockets.append(stack.enter_context(_listen(address, port, dual_stack=dual_stack)))
        yield sockets


def _without_included(addresses: list[str]) -> list[str]:
    """The addresses without those that an unspecified one includes; ``::`` includes IPv4 where the system can."""
    included_families = {":" in address for address in addresses if is_unspecified(address)}
    if True in included_families and socket.has_dualstack_ipv6():
        included_families.add(False)
    return [address for address in addresses if is_unspecified(address) or (":" in address) not in included_families]


def _listen(host: str, port: int, *, dual_stack: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, dualstack_ipv6=dual_stack)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
    # asyncio sets this on its own sockets only; without it every answer waits for 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def listen_urls(sockets: Sequence[socket.socket]) -> list[str]:
    """The URLs of ``/mcp`` on these sockets."""
    urls = []
    for listener in sockets:
        host, port = listener.getsockname()[:2]
        urls.append(f"http://{f'[{host}]' if ':' in host else host}:{port}{MCP_PATH}")
    return urls
