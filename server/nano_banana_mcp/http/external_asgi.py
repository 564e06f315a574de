"""The application as a guest of somebody else's ASGI server (``uvicorn --factory``): what ``serve --http`` sees to
itself must then come with the application. Nothing here acts on import."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import IPv6Address, ip_address
from types import FrameType
from typing import Any

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from nano_banana_mcp.settings import variable_of

_FORWARDED = (b"forwarded", b"x-forwarded-for")

_ENDS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
if sys.platform == "win32":
    _ENDS += (signal.SIGBREAK,)

logger = logging.getLogger(__name__)


def drain_at_the_end(app: Starlette, drain: Callable[[], None]) -> None:
    """Have ``drain`` called when the process is told to end: at the end of the lifespan it would be too late, since
    servers let all calls end before that."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(serving: Any) -> AsyncIterator[Any]:
        async with inner(serving) as state:
            with _on_signal(drain):
                yield state
            drain()

    app.router.lifespan_context = lifespan


@contextmanager
def _on_signal(call: Callable[[], None]) -> Iterator[None]:
    """Within the block, a signal that somebody handles leads to ``call`` in the event loop, too."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python takes signal handlers only there
        return
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as chained:
        for number in _ENDS:
            _chain(number, lambda: loop.call_soon_threadsafe(call), chained)
        yield


def _chain(number: signal.Signals, call: Callable[[], object], until: contextlib.ExitStack) -> None:
    before = signal.getsignal(number)
    if not callable(before):
        return  # nobody would end the server in good order

    def handle(caught: int, frame: FrameType | None) -> None:
        call()
        before(caught, frame)

    def restore() -> None:
        if signal.getsignal(number) is handle:
            signal.signal(number, before)

    signal.signal(number, handle)
    until.callback(restore)


def answer_only_this_machine(app: Starlette, path: str) -> None:
    """Where nobody is asked who they are, and the bind cannot be checked: put :class:`OnlyThisMachine` at ``path``."""
    routes = app.router.routes
    [place] = [number for number, route in enumerate(routes) if isinstance(route, Route) and route.path == path]
    open_to_all = routes[place]
    assert isinstance(open_to_all, Route)
    routes[place] = Route(path, OnlyThisMachine(open_to_all.app))


class OnlyThisMachine:
    """ASGI middleware: a peer that is not on the loopback interface, or that a proxy speaks for, is refused."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._told = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if _from_here(scope):
            await self._app(scope, receive, send)
            return
        if not self._told:
            self._told = True
            logger.warning(
                "a caller from another machine was refused: everyone who reaches this server could spend your "
                "credits. Have it ask who calls (%s or %s), or say that it need not (%s=true).",
                variable_of("tokens_file"),
                variable_of("oauth_issuer"),
                variable_of("allow_unauthenticated"),
            )
        refusal = "This server asks nobody who they are, so it answers only callers on its own machine."
        await PlainTextResponse(refusal, status_code=403)(scope, receive, send)


def _from_here(scope: Scope) -> bool:
    # Such headers are either a proxy's, or forged by whoever hopes that the ASGI server believes them.
    if any(name in _FORWARDED for name, _ in scope["headers"]):
        return False
    try:
        address = ip_address((scope.get("client") or ("",))[0])
    except ValueError:
        return False  # a Unix socket, behind which anyone may be
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
