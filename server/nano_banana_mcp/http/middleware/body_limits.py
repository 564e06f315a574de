"""Bound the bytes of request bodies that are in memory, and how many large ones a caller sends, before any is read."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nano_banana_mcp.common.rate_limit import RateLimiter
from nano_banana_mcp.generations.quotas import Quotas

CALLER_BODIES = 1.5
"""Largest bodies that one caller may have in memory at a time."""

ALL_BODIES = 4
"""Largest bodies that all callers together may have in memory at a time."""

RETRY_AFTER_SECONDS = 5

LARGE_BODY_BYTES = 1024 * 1024
"""Bodies from this size on are counted before they are read and parsed."""

_MINUTE = 60.0


class _OverLimit(Exception):
    """The request would exceed a limit."""

    def __init__(self, message: str, retry_after_seconds: float = RETRY_AFTER_SECONDS) -> None:
        super().__init__(message)
        self.response = PlainTextResponse(
            f"{message} Nothing was charged.",
            status_code=429,
            headers={"Retry-After": str(math.ceil(retry_after_seconds))},
        )


class BodyLimits:
    """ASGI middleware behind authentication: refuses with 429 what would exceed a limit.

    A declared length is reserved before anything is read, and given back when the request ends. A caller may send as
    many large bodies a minute as calls.

    Args:
        max_body_bytes: The largest body of one request.
        quotas: The callers' limits of calls per minute.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self, app: ASGIApp, max_body_bytes: int, quotas: Quotas, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._caller_bytes = round(max_body_bytes * CALLER_BODIES)
        self._all_bytes = max_body_bytes * ALL_BODIES
        self._quotas = quotas
        self._rate_limiter = RateLimiter(clock)
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

        is_counted = reserved >= LARGE_BODY_BYTES

        async def receive_within_limits() -> Message:
            nonlocal received, reserved, is_counted
            message = await receive()
            received += len(message.get("body", b""))
            if received > reserved:  # sent in chunks, without a length
                self._reserve(caller, received - reserved)
                reserved = received
                if received >= LARGE_BODY_BYTES and not is_counted:
                    is_counted = True
                    self._count(caller)
            return message

        async def send_and_note(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            if is_counted:
                self._count(caller)
            self._reserve(caller, reserved)
        except _OverLimit as error:
            await error.response(scope, receive, send)
            return
        try:
            await self._app(scope, receive_within_limits, send_and_note)
        except _OverLimit as error:
            if not has_started:
                await error.response(scope, receive, send)
        finally:
            self._release(caller, reserved)

    def _count(self, caller: str) -> None:
        calls_per_minute = self._quotas.limits_of(caller).calls_per_minute
        if not calls_per_minute:
            return
        wait_seconds = self._rate_limiter.acquire(
            caller, burst=calls_per_minute, interval_seconds=_MINUTE / calls_per_minute
        )
        if wait_seconds:
            raise _OverLimit(f"Rate limit exceeded: {calls_per_minute} calls per minute.", wait_seconds)

    def _reserve(self, caller: str, size: int) -> None:
        if self._reserved[caller] + size > self._caller_bytes or self._reserved.total() + size > self._all_bytes:
            raise _OverLimit("Too much data in progress. Send large images one after another, or as URLs.")
        self._reserved[caller] += size

    def _release(self, caller: str, size: int) -> None:
        self._reserved[caller] -= size
        if not self._reserved[caller]:
            del self._reserved[caller]
