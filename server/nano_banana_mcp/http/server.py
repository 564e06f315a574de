"""``serve --http``: the application under uvicorn, with an end that loses nothing."""

from __future__ import annotations

import contextlib
import gc
import socket
import sys
from collections.abc import Callable

import anyio
import uvicorn

from nano_banana_mcp.common.logging import announce
from nano_banana_mcp.http.app import application
from nano_banana_mcp.http.auth.authentication import check_bind
from nano_banana_mcp.settings import Settings

GRACE_SECONDS = 10
"""For calls that are under way when the server is told to end; waits answer at once with their next step."""

KEEP_ALIVE_SECONDS = 75
"""Longer than clients and reverse proxies keep an idle connection (5 to 60 s): whoever closes first must be they. One
that is closed here in the moment of its reuse is an error there."""

YOUNG_OBJECTS, YOUNG_ROUNDS = 700, 10
MIN_ROUNDS, ROUNDS_FOR_A_CALL, ROUNDS_FOR_A_CONNECTION = 10, 1.0, 0.03
"""A full collection of garbage is due after so many rounds of young objects: at least ten, and more for all that is or
lately was under way. It stops everything while it looks at what they hold: 0.3 ms for a waiting call."""

FORGOTTEN_AT_A_TICK = 0.05
"""Of a crowd that has left: half of it in 1.4 s. Its garbage is collected once the last answers are away."""


def serve_http(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        BindRefused: the address is open to others, and nobody would be asked who they are.
        SettingsError: OAuth is set up by halves.
        BadPrincipals: the file of tokens cannot be used.
        OSError: the address cannot be listened on.
    """
    warnings = check_bind(settings)
    app, server = application(settings)
    config = uvicorn.Config(
        app,
        lifespan="on",
        log_config=None,  # uvicorn's own would write to stdout
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    _allow_open_files()
    with _listen(settings.host, settings.port) as listener:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        announce(f"nano-banana-mcp serves http://{host}:{listener.getsockname()[1]}/mcp")
        for warning in warnings:
            announce(f"Warning: {warning}")
        _collect_seldom()
        anyio.run(_Server(config, server.drain).serve, [listener])


class Crowd:
    """The clients that are there, or were a moment ago: all of them wait for a full collection of garbage."""

    def __init__(self) -> None:
        self._patience = 0.0

    def bears_collecting(self, calls: int, connections: int, rounds: int) -> bool:
        """Whether now is the time, ``rounds`` of young objects after the last one; asked once a tick."""
        there = max(ROUNDS_FOR_A_CALL * calls, ROUNDS_FOR_A_CONNECTION * connections)
        self._patience = max(there, self._patience * (1 - FORGOTTEN_AT_A_TICK))
        return rounds >= max(MIN_ROUNDS, self._patience)


class _Server(uvicorn.Server):
    """uvicorn's, which lets waiting calls answer before it waits for all calls to end."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._drain = drain
        self._crowd = Crowd()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Told to end."""
        self._drain()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        state = self.server_state
        if self._crowd.bears_collecting(len(state.tasks), len(state.connections), gc.get_count()[2]):
            gc.collect()
        return await super().on_tick(counter)


def _allow_open_files() -> None:
    """Each call is an open connection: allow as many as the system lets us."""
    if sys.platform == "win32":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS names a limit that it does not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _collect_seldom() -> None:
    """What is imported and built by now stays; full collections are :meth:`_Server.on_tick`'s."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_ROUNDS, 1_000_000)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
    # asyncio sets this only on sockets that it has made itself; without it every answer waits for 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
