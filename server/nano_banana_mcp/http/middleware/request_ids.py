"""Give each request an id, in the answer's ``X-Request-Id`` and in all log records about it."""

from __future__ import annotations

import re
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nano_banana_mcp.common import logging as logs

HEADER = b"x-request-id"
_VALID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RequestIds:
    """ASGI middleware: takes a valid id from the request, or makes one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = next((value for name, value in scope["headers"] if name == HEADER), b"")
        request_id = received if _VALID.fullmatch(received) else uuid.uuid4().hex.encode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (HEADER, request_id)]}
            await send(message)

        with logs.log_context(request_id=request_id.decode()):
            await self._app(scope, receive, send_with_id)
