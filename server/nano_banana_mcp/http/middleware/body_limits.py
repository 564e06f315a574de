"""Bound the bytes of request bodies that are in memory, for each caller and in all."""

from __future__ import annotations

from collections import Counter

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CALLER_BODIES = 1.5
"""Largest bodies that one caller may have in memory at a time."""

ALL_BODIES = 4
"""Largest bodies that all callers together may have in memory at a time."""

RETRY_AFTER_SECONDS = 5


class _OverLimit(Exception):
    """Another chunk would exceed a limit."""


class BodyLimits:
    """ASGI middleware behind authentication: refuses with 429 what would exceed a limit.

    A declared length is reserved before anything is read, and given back when the request ends.

    Args:
        max_body_bytes: The largest body of one request.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._caller_bytes = round(max_body_bytes * CALLER_BODIES)
        self._all_bytes = max_body_bytes * ALL_BODIES
        self._reserved: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        user = scope.get("user")
        caller = user.access_token.client_id if isinstance(user, AuthenticatedUser) else ""
        length = Headers(scope=scope).get("content-length", "")
        reserved = int(length) if length.isdecimal() else 0
        if reserved > self._max_body_bytes:
            reserved = 0  # refused with 413 before anything is read
        received = 0
        has_started = False

        async def receive_within_limits() -> Message:
            nonlocal received, reserved
            message = await receive()
            received += len(message.get("body", b""))
            if received > reserved:  # sent in chunks, without a length
                self._reserve(caller, received - reserved)
                reserved = received
            return message

        async def send_and_note(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            self._reserve(caller, reserved)
        except _OverLimit:
            await _REFUSAL(scope, receive, send)
            return
        try:
            await self._app(scope, receive_within_limits, send_and_note)
        except _OverLimit:
            if not has_started:
                await _REFUSAL(scope, receive, send)
        finally:
            self._release(caller, reserved)

    def _reserve(self, caller: str, size: int) -> None:
        if self._reserved[caller] + size > self._caller_bytes or self._reserved.total() + size > self._all_bytes:
            raise _OverLimit
        self._reserved[caller] += size

    def _release(self, caller: str, size: int) -> None:
        self._reserved[caller] -= size
        if not self._reserved[caller]:
            del self._reserved[caller]


_REFUSAL = PlainTextResponse(
    "Too much data in progress. Send large images one after another, or as URLs. Nothing was charged.",
    status_code=429,
    headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
)
