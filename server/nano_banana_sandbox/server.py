"""Serves a sandbox: inside another process (`serve_sandbox`) or as a process of its own (`run_sandbox`).

uvicorn's HTTP protocol is used without its `Server`, which installs signal handlers, calls `sys.exit` when a port is
taken, and logs. None of this is acceptable inside a stdio server.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from nano_banana_sandbox.app import create_app
from nano_banana_sandbox.callbacks import CallbackSender
from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.sandbox import Sandbox
from nano_banana_sandbox.tasks import Task

__all__ = ["Sandbox", "SandboxConfig", "run_sandbox", "serve_sandbox"]

_CLOSING_SECONDS = 0.5
_ACCEPTING_ROUNDS = 2
"""Rounds of asyncio's event loop until an accepted connection is one of the server's, which are aborted."""


@asynccontextmanager
async def serve_sandbox(
    config: SandboxConfig | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Sandbox]:
    """Serve a sandbox while the block runs; port 0 takes a free one.

    Raises:
        OSError: the address cannot be listened on.
    """
    listener = _listen(host, port)
    sandbox = Sandbox(SandboxConfig() if config is None else config, _url(host, listener))
    callbacks = CallbackSender(sandbox)
    failure: Exception | None = None
    async with anyio.create_task_group() as background:

        def follow(task: Task) -> None:
            background.start_soon(callbacks.deliver, task)

        sandbox.on_task = follow
        try:
            async with _serving(listener, create_app(sandbox)):
                yield sandbox
        except Exception as error:  # noqa: BLE001 - carried past the task group, which would wrap it
            failure = error
        finally:
            background.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await callbacks.aclose()
    if failure is not None:
        raise failure


async def run_sandbox(
    config: SandboxConfig | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    announce: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until SIGINT or SIGTERM; `announce` is called with the URL as soon as it listens.

    Raises:
        OSError: the address cannot be listened on.
    """
    with _stop_signals() as stopped:
        async with serve_sandbox(config, host=host, port=port) as sandbox:
            announce(sandbox.url)
            await stopped()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(error.errno, f"the sandbox cannot listen on {host}:{port}: {error.strerror}") from None


def _url(host: str, listener: socket.socket) -> str:
    name = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(host)  # noqa: S104 - where to reach it
    return f"http://{name or (f'[{host}]' if ':' in host else host)}:{listener.getsockname()[1]}"


class _Protocol(H11Protocol):
    """Makes the transport available to a request, for the reset faults.

    uvicorn copies `app_state` into `scope["state"]` of every request on the connection.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of a socket
        super().connection_made(transport)
        # asyncio sets this only for sockets that name their protocol, which sockets of a given listener do not.
        # Without it every second answer on a connection waits 40 ms (Nagle against delayed acknowledgements).
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "transport": transport}
        self.access_log = False


class _Requests:
    """Runs each request in a cancel scope of its own, so that all can be ended without an error."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._scopes: set[anyio.CancelScope] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with anyio.CancelScope() as running:
            self._scopes.add(running)
            try:
                await self._app(scope, receive, partial(_send_identified, send))
            finally:
                self._scopes.discard(running)

    def cancel(self) -> None:
        for running in list(self._scopes):
            running.cancel()


async def _send_identified(send: Send, message: Message) -> None:
    """Send with the header that distinguishes a sandbox from the API."""
    if message["type"] == "http.response.start":
        message = {**message, "headers": [*message.get("headers", ()), (b"x-nano-banana-sandbox", b"1")]}
    await send(message)


@asynccontextmanager
async def _serving(listener: socket.socket, app: ASGIApp) -> AsyncIterator[None]:
    requests = _Requests(app)
    # No log settings: uvicorn's loggers belong to the process, which may run a server of its own.
    config = Config(requests, http=_Protocol, ws="none", lifespan="off", log_config=None, proxy_headers=False)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Protocol(config, state, {}), sock=listener)
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            if sys.platform != "win32":  # asyncio closes no connection that it accepts while its server closes
                loop.remove_reader(listener)
                for _ in range(_ACCEPTING_ROUNDS):
                    await asyncio.sleep(0)
            server.close()
            for connection in list(state.connections):
                connection.transport.abort()
            requests.cancel()
            if state.tasks:
                await asyncio.wait(state.tasks, timeout=_CLOSING_SECONDS)
            await server.wait_closed()


@contextmanager
def _stop_signals() -> Iterator[Callable[[], Awaitable[None]]]:
    if sys.platform == "win32":  # there Ctrl-C arrives as KeyboardInterrupt
        yield anyio.sleep_forever
        return
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

        async def stopped() -> None:
            await anext(aiter(signals))

        yield stopped
