"""``serve --http``: the application under uvicorn, with an end that loses nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable

import anyio
import uvicorn

from nano_banana_mcp.hosting.app import application
from nano_banana_mcp.hosting.binds import check_bind
from nano_banana_mcp.logs import announce
from nano_banana_mcp.settings import Settings

GRACE_SECONDS = 10
"""For calls that are under way when the server is told to end; waits answer at once with their next step."""


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
    )
    with _listen(settings.host, settings.port) as listener:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        announce(f"nano-banana-mcp serves http://{host}:{listener.getsockname()[1]}/mcp")
        for warning in warnings:
            announce(f"Warning: {warning}")
        anyio.run(_Server(config, server.drain).serve, [listener])


class _Server(uvicorn.Server):
    """uvicorn's, which lets waiting calls answer before it waits for all calls to end."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Told to end."""
        self._drain()
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
    # asyncio sets this only on sockets that it has made itself; without it every answer waits for 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
