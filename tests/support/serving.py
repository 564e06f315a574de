"""An ASGI application of a test's own, on a real socket in this process."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import uvicorn
from starlette.types import ASGIApp


@contextmanager
def listening() -> Iterator[tuple[socket.socket, str]]:
    """A socket, and the URL of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


class _Server(uvicorn.Server):
    """Signals stay the test runner's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket, lifespan: Any = "off") -> AsyncIterator[None]:
    """Serve an application while the block runs."""
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan=lifespan, timeout_graceful_shutdown=1)
    server = _Server(config)
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve, [listener])
        try:
            yield
        finally:
            server.should_exit = True
