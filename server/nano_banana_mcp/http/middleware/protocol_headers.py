"""Adapt headers that the SDK's transport (mcp 2.3.0) handles too strictly.

- ``Content-Type`` is compared in lower case only, though media types have no case (RFC 9110, section 8.3.1).
- A GET with ``Last-Event-ID`` ends in a 500 where streams cannot be resumed; without the header it opens the stream.
- A refused opening request is answered with the id of a session that is already gone.
"""

from __future__ import annotations

from mcp.server.streamable_http import LAST_EVENT_ID_HEADER, MCP_SESSION_ID_HEADER
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LAST_EVENT_ID = LAST_EVENT_ID_HEADER.encode()
_SESSION_ID = MCP_SESSION_ID_HEADER.encode()


class ProtocolHeaders:
    """ASGI middleware directly in front of the SDK's application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = [
            (name, _lower_media_type(value) if name == b"content-type" else value)
            for name, value in scope["headers"]
            if name != _LAST_EVENT_ID
        ]
        has_session = MCP_SESSION_ID_HEADER in Headers(scope=scope)

        async def send_without_dead_session(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400 and not has_session:
                others = [(name, value) for name, value in message["headers"] if name.lower() != _SESSION_ID]
                message = {**message, "headers": others}
            await send(message)

        await self._app({**scope, "headers": headers}, receive, send_without_dead_session)


def _lower_media_type(content_type: bytes) -> bytes:
    media_type, separator, parameters = content_type.partition(b";")
    return media_type.lower() + separator + parameters
