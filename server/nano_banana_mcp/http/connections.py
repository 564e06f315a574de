"""Connections of unauthenticated peers: a deadline for the request's head, and a maximum number."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from nano_banana_mcp.common.rate_limit import RateLimiter

HEAD_SECONDS = 10.0
"""Maximum time from the start of a connection, or of a later request on it, to the end of the request's head."""

RESERVED_FILES = 256
"""Open files kept for the ledger, the image store, downloads and the API; at most half of all."""

FALLBACK_MAX_CONNECTIONS = 5_000
"""Maximum of connections on Windows, which has no limit of open files for sockets."""

LOG_INTERVAL_SECONDS = 60.0
"""Repeated records about refused connections are logged once in this time."""

logger = logging.getLogger(__name__)
_log_limiter = RateLimiter()


class LimitedConnection(H11Protocol):
    """uvicorn's connection, closed when a request's head takes too long or there are too many connections.

    uvicorn has no setting for either. Subclass it with :func:`limited_connections` to set the limits.
    """

    head_seconds = HEAD_SECONDS
    max_connections = FALLBACK_MAX_CONNECTIONS
    _head_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn passes this type
        """Accept the connection, or close it if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            if not _log_limiter.acquire("connections", burst=1, interval_seconds=LOG_INTERVAL_SECONDS):
                logger.warning("refusing connections: %d are open, the maximum", self.max_connections)
            transport.abort()
            return
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._await_head()
        else:
            self._stop_awaiting_head()

    def send_400_response(self, msg: str) -> None:
        """Refuse an invalid request, of which the head may have been passed to the application."""
        cycle: Any = self.cycle  # None before the first request
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True  # what the application sends is dropped
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # it has a body, which HEAD excludes; or another response has begun
            self.transport.close()

    def on_response_complete(self) -> None:
        """Go on with the next request, of which a part may have come with the one before."""
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0] and not self.transport.is_closing():
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_awaiting_head()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._head_deadline is None:
            self._head_deadline = self.loop.call_later(self.head_seconds, self.transport.abort)

    def _stop_awaiting_head(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None


def limited_connections(max_connections: int, head_seconds: float = HEAD_SECONDS) -> type[LimitedConnection]:
    """The protocol class for these limits."""
    return type(
        "LimitedConnection", (LimitedConnection,), {"max_connections": max_connections, "head_seconds": head_seconds}
    )


def raise_open_files_limit() -> int:
    """Allow as many open files as the system permits. Returns the maximum of connections that leaves the reserve."""
    if sys.platform == "win32":
        return FALLBACK_MAX_CONNECTIONS
    import resource

    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS reports a limit that it does not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return connections_within(limit if limit != resource.RLIM_INFINITY else 2**20)


def connections_within(open_files: int) -> int:
    """The maximum of connections that leaves :data:`RESERVED_FILES` of the open files."""
    return max(open_files - RESERVED_FILES, open_files // 2)


class AcceptErrorFilter(logging.Filter):
    """Passes asyncio's record that accepting a connection failed once in a while.

    asyncio logs one for each connection that may be queued, once a second, while it is out of files.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._limiter = RateLimiter(clock)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record."""
        message: Any = record.msg
        if not (isinstance(message, str) and "socket.accept() out of system resource" in message):
            return True
        return not self._limiter.acquire("accept", burst=1, interval_seconds=LOG_INTERVAL_SECONDS)
