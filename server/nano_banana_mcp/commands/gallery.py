"""``gallery``: a local web page with all images."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
import anyio.to_thread
import uvicorn

from nano_banana_mcp.app import open_service
from nano_banana_mcp.commands.console import refuse
from nano_banana_mcp.commands.listening import listen_problem, port_number
from nano_banana_mcp.gallery.access import TOKEN, GalleryAccess
from nano_banana_mcp.gallery.app import create_app
from nano_banana_mcp.gallery.service import GalleryService
from nano_banana_mcp.images.saving.output_folder import OutputFolder
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.settings import Settings
from nano_banana_mcp.storage import open_database

GRACE_SECONDS = 2
"""How long open requests may take after a signal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument("--port", type=port_number, default=0, help="port on this machine (default: any free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.set_defaults(run=run)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Serve the page until interrupted. Returns the exit code."""
    try:
        with _listen(arguments.port) as listener:
            anyio.run(_serve, settings, listener, not arguments.no_browser)
    except LedgerError as error:
        return refuse("gallery", error.for_operator)
    except OSError as error:
        return refuse("gallery", listen_problem(error, port="--port"))
    return 0


async def _serve(settings: Settings, listener: socket.socket, opens_browser: bool) -> None:
    port = listener.getsockname()[1]
    async with gallery_app(settings, port) as app:
        url = f"http://127.0.0.1:{port}/?{TOKEN}={app.token}"
        sys.stdout.write(f"Your pictures: {url}\nKeep this address private. Press Ctrl-C to stop.\n")
        sys.stdout.flush()
        if opens_browser:  # some browsers return only when they are closed
            threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()
        config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        await _Server(config).serve([listener])


@asynccontextmanager
async def gallery_app(settings: Settings, port: int) -> AsyncIterator[GalleryAccess]:
    """The gallery of this ledger as an ASGI application.

    Args:
        settings: They name the ledger and the folders.
        port: The port that it is served on.

    Raises:
        LedgerError: The ledger cannot be used.
    """
    saved = None if settings.output_dir is None else OutputFolder(settings.output_dir)
    ledger = await anyio.to_thread.run_sync(open_database, settings)
    try:
        # Without the setting, the service exports nothing: the gallery only shows.
        async with open_service(settings.model_copy(update={"output_dir": None})) as service:
            yield GalleryAccess(create_app(GalleryService(ledger, service.images, service.uploads, saved)), port)
    finally:
        ledger.close()


class _Server(uvicorn.Server):
    """A server that ends without an error after a signal."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(port: int) -> socket.socket:
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on port {port}: {error.strerror}") from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
