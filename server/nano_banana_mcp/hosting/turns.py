"""A crowd of requests starts a few at a time, so that it does not keep the event loop from everything else."""

from __future__ import annotations

import contextlib

import anyio
import anyio.lowlevel
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

AT_ONCE = 4
"""Requests that start in one round of the event loop. Each takes it a few milliseconds."""


class Turns:
    """Middleware: whole requests go on in the order in which they became whole; one without a body is not held back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._turns = anyio.Semaphore(AT_ONCE, fast_acquire=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def receive_in_turn() -> Message:
            message = await receive()
            # Not before: the bodies of a crowd arrive together as well.
            if message["type"] == "http.request" and not message.get("more_body", False):
                async with self._turns:
                    await anyio.lowlevel.checkpoint()
            return message

        # Whoever has gone before the request was whole gets no answer; it is no error of ours to be logged.
        with contextlib.suppress(ClientDisconnect):
            await self._app(scope, receive_in_turn, send)
