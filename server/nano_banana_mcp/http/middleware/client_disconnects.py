"""Ignore clients that disconnect before their request is complete."""

from __future__ import annotations

import contextlib

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send


class IgnoreClientDisconnects:
    """ASGI middleware: a request that its client abandoned is not an error of the server."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        with contextlib.suppress(ClientDisconnect):
            await self._app(scope, receive, send)
