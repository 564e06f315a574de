"""``gallery``: a local page of what was made."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import anyio.to_thread
import uvicorn

from nano_banana_mcp.app import open_service
from nano_banana_mcp.gallery.app import TOKEN, Guard, create_app
from nano_banana_mcp.gallery.service import GalleryService
from nano_banana_mcp.images.saving.output_folder import OutputFolder
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.settings import Settings
from nano_banana_mcp.storage import open_database

GRACE_SECONDS = 2


def run(settings: Settings, port: int, *, browser: bool) -> int:
    """Serve the page until interrupted. Returns the exit code.

    Args:
        port: On this machine; 0 for any free one.
        browser: Whether to open it.
    """
    try:
        with _listen(port) as listener:
            anyio.run(_serve, settings, listener, browser)
    except LedgerError as error:
        return _refuse(error.for_operator)
    except (OSError, OverflowError) as error:
        return _refuse(f"cannot listen on port {port}: {getattr(error, 'strerror', None) or error}")
    return 0


async def _serve(settings: Settings, listener: socket.socket, browser: bool) -> None:
    saved = None if settings.output_dir is None else OutputFolder(settings.output_dir)
    ledger = await anyio.to_thread.run_sync(open_database, settings)
    try:
        # Looking at pictures saves none.
        async with open_service(settings.model_copy(update={"output_dir": None})) as service:
            port = listener.getsockname()[1]
            log_exceptions = Guard(create_app(GalleryService(ledger, service.album, saved)), port)
            url = f"http://127.0.0.1:{port}/?{TOKEN}={log_exceptions.token}"
            sys.stdout.write(f"Your pictures: {url}\nKeep this address to yourself. Ctrl-C ends it.\n")
            sys.stdout.flush()
            if browser:  # some are in no hurry to return
                threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()
            config = uvicorn.Config(
                log_exceptions,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
            await _Server(config).serve([listener])
    finally:
        ledger.close()


class _Server(uvicorn.Server):
    """uvicorn's, for which a signal is an end and no error."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """While it serves."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(port: int) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", port))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _refuse(words: str) -> int:
    sys.stderr.write(f"nano-banana-mcp gallery: {words}\n")
    return 1
