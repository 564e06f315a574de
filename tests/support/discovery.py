"""Sessions of a client over stdio, played in this process: to the front with its handover, and to the real server."""

from __future__ import annotations

import io
import json
import os
import threading
from pathlib import Path
from typing import Any, BinaryIO, cast

import anyio

from nano_banana_mcp.app import build_server
from nano_banana_mcp.settings import load_settings
from nano_banana_mcp.stdio import manifest
from nano_banana_mcp.stdio.front import Front
from nano_banana_mcp.stdio.server import serve_session
from nano_banana_mcp.stdio.session import Session

ENVELOPE = "io.modelcontextprotocol/"
MODERN = "2026-07-28"
REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", MODERN)
LISTS = ("tools/list", "prompts/list", "resources/templates/list", "resources/list")
PATIENCE_SECONDS = 60


def line(message: Any) -> bytes:
    """A message as clients of Python write it."""
    return json.dumps(message).encode() + b"\n"


def request(request_id: Any, method: str, params: Any = None) -> bytes:
    """The line of a request; without ``params`` if they are None."""
    return line({"jsonrpc": "2.0", "id": request_id, "method": method} | ({} if params is None else {"params": params}))


def notification(method: str, params: Any = None) -> bytes:
    """The line of a notification."""
    return line({"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params}))


def initialize(revision: str = "2025-11-25", request_id: Any = 0, **params: Any) -> bytes:
    """The line that opens a handshake."""
    values = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    return request(request_id, "initialize", values | params)


def envelope(revision: Any = MODERN, **more: Any) -> dict[str, Any]:
    """The ``params`` of a modern request."""
    return {
        "_meta": {
            f"{ENVELOPE}protocolVersion": revision,
            f"{ENVELOPE}clientInfo": {"name": "x", "version": "1"},
            f"{ENVELOPE}clientCapabilities": {},
        }
        | more
    }


INITIALIZED = notification("notifications/initialized")


class CollectedOutput(io.BytesIO):
    """What a client receives. After ``expected`` messages the client closes its own stream."""

    def __init__(self, expected: int, client: BinaryIO) -> None:
        super().__init__()
        self._expected = expected
        self._client = client
        self._close_if_complete()

    def flush(self) -> None:
        """See the base class."""
        super().flush()
        self._close_if_complete()

    def messages(self) -> list[Any]:
        """All that was received."""
        return [json.loads(received) for received in self.getvalue().splitlines()]

    def close(self) -> None:
        """Stay readable: the text layer of the server closes it."""

    def _close_if_complete(self) -> None:
        if self.getvalue().count(b"\n") >= self._expected:
            self._client.close()


def play(lines: bytes, expected: int, folder: Path, answers: manifest.Answers) -> tuple[list[Any], bool]:
    """Send ``lines`` and close the stream after ``expected`` answers.

    Args:
        folder: State of the server.
        answers: The manifest of the front; empty for the real server alone.

    Returns:
        All messages that were received, and whether the real server was needed.
    """
    server_end, client_end = os.pipe()
    client = os.fdopen(client_end, "wb", buffering=0)
    client.write(lines)
    output = CollectedOutput(expected, client)
    incoming = os.fdopen(server_end, "rb", closefd=False)
    session = Session(Front(answers, list), incoming, cast(BinaryIO, output))
    limit = threading.Timer(PATIENCE_SECONDS, client.close)
    limit.start()
    try:
        if answers and not session.converse():
            return output.messages(), False
        settings = load_settings(base_url="http://127.0.0.1:9", api_key="dk-none", state_dir=folder)
        anyio.run(serve_session, session, build_server(settings, local=True))
        return output.messages(), True
    finally:
        limit.cancel()
        limit.join()
        client.close()
        os.close(server_end)
