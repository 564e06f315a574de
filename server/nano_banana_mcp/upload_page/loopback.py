"""The upload page of a server over stdio: a small server on the loopback interface for as long as a grant is open."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Collection

import anyio
from anyio.abc import TaskGroup
from starlette.applications import Starlette
from starlette.routing import Route

from nano_banana_mcp.common.supervise import log_exceptions
from nano_banana_mcp.generations.uploads import UploadRequest
from nano_banana_mcp.service.uploads import UploadService
from nano_banana_mcp.upload_page.endpoint import PATH, UploadPage

LINGER_SECONDS = 30.0
"""Time after the last grant's end for which the server still answers that it has ended."""

CHECK_SECONDS = 2.0
"""Pause between two checks whether a grant is still open."""

MAX_CONNECTIONS = 32

ACCEPT_SECONDS = 0.05
"""Time in which a connection that asyncio has just accepted is handed to its protocol, which can close it."""

CLOSING_SECONDS = 0.5


class LoopbackPage:
    """Serves the upload page on ``127.0.0.1``, on a free port, while a grant is open.

    Args:
        uploads: Returns the service.
        tasks: Runs the server.
    """

    def __init__(self, uploads: Callable[[], UploadService], tasks: TaskGroup) -> None:
        self._uploads = uploads
        self._tasks = tasks
        self._base_url: str | None = None
        self._requests: dict[str, UploadRequest] = {}

    async def base_url(self, request: UploadRequest, host: str | None) -> str | None:
        """Return where the page of a request is served; start the server if none runs.

        Returns:
            None if this machine gives out no port.
        """
        self._requests[request.upload_id] = request
        if self._base_url is None:
            try:
                listener = socket.create_server(("127.0.0.1", 0))
            except OSError:
                return None
            self._base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self._tasks.start_soon(self._serve, listener)
        return self._base_url

    async def _serve(self, listener: socket.socket) -> None:
        # uvicorn's protocol without its server, which handles signals and logs.
        from uvicorn.config import Config
        from uvicorn.protocols.http.h11_impl import H11Protocol
        from uvicorn.server import ServerState

        port = listener.getsockname()[1]
        endpoint = UploadPage(self._uploads, {f"127.0.0.1:{port}", f"localhost:{port}"}.__contains__)
        config = Config(
            Starlette(routes=[Route(PATH, endpoint)]),
            http=H11Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
        )
        with log_exceptions("serving the upload page"):
            config.load()
            state = ServerState()
            loop = asyncio.get_running_loop()
            server = await loop.create_server(lambda: H11Protocol(config, state, {}), sock=listener)
            try:
                await self._until_idle(state.tasks)
            finally:
                with anyio.CancelScope(shield=True):
                    # A connection that asyncio accepts while the server closes gets no protocol and is never closed.
                    with contextlib.suppress(NotImplementedError):  # Windows' event loop
                        loop.remove_reader(listener)
                    await asyncio.sleep(ACCEPT_SECONDS)
                    server.close()
                    for connection in list(state.connections):
                        connection.transport.abort()
                    if state.tasks:
                        await asyncio.wait(state.tasks, timeout=CLOSING_SECONDS)
                    await asyncio.sleep(0)  # closes the sockets

    async def _until_idle(self, answering: Collection[object]) -> None:
        """Return some time after the last grant has ended, and no request is being answered.

        From then on a new request for images starts a new server.
        """
        idle_seconds = 0.0
        while idle_seconds < LINGER_SECONDS or answering:
            await anyio.sleep(CHECK_SECONDS)
            idle_seconds += CHECK_SECONDS
            with log_exceptions("checking the grants of the upload page"):
                for request in list(self._requests.values()):
                    if await self._uploads().open_grant(request.grant) is None:
                        del self._requests[request.upload_id]
            if self._requests:
                idle_seconds = 0.0
        self._base_url = None
