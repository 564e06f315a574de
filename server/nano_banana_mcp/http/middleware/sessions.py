"""How many sessions one caller may hold, so that nobody can take them all. Only the older era has sessions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER
from mcp.server.streamable_http_manager import DEFAULT_SESSION_IDLE_TIMEOUT
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp.types import INTERNAL_ERROR
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OPENING = (None, *HANDSHAKE_PROTOCOL_VERSIONS)


@dataclass
class _Session:
    requests: int
    last_seen: float


class SessionLimit:
    """ASGI middleware behind authentication: refuses to open one more session than ``most`` for a caller.

    It counts as the SDK's manager does: a session ends by DELETE, when it is not found any more, or when it was idle
    for :data:`~mcp.server.streamable_http_manager.DEFAULT_SESSION_IDLE_TIMEOUT` seconds.
    """

    def __init__(self, app: ASGIApp, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._most = most
        self._clock = clock
        self._sessions: dict[str, dict[str, _Session]] = {}
        self._opening: Counter[str] = Counter()

    @property
    def callers(self) -> set[str]:
        """Of whom anything is kept."""
        return {*self._sessions, *self._opening}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        user = scope.get("user")
        if scope["type"] != "http" or not isinstance(user, AuthenticatedUser):
            await self._app(scope, receive, send)
            return
        caller = user.access_token.client_id
        headers = Headers(scope=scope)
        name = headers.get(MCP_SESSION_ID_HEADER)
        opens = name is None and scope["method"] == "POST" and headers.get(MCP_PROTOCOL_VERSION_HEADER) in _OPENING
        if opens and self._open(caller) + self._opening[caller] >= self._most:
            words = f"You have {self._most} open sessions, and this server allows no more. Close some, or reuse one."
            error = {"jsonrpc": "2.0", "id": None, "error": {"code": INTERNAL_ERROR, "message": words}}
            await JSONResponse(error, status_code=503)(scope, receive, send)
            return
        known = self._sessions.get(caller, {}).get(name or "")
        if known is not None:
            known.requests += 1

        # The place is taken before the body is read: who sends many headers first must not get in with all of them.
        holds_place = opens
        if opens:
            self._opening[caller] += 1

        async def watch(message: Message) -> None:
            nonlocal known, name, holds_place
            if message["type"] == "http.response.start":
                given = Headers(raw=message["headers"]).get(MCP_SESSION_ID_HEADER)
                ended = message["status"] == 404 or (scope["method"] == "DELETE" and message["status"] < 300)
                if ended and name is not None:
                    self._forget(caller, name)
                elif opens and given is not None and message["status"] < 400:
                    name, known = given, _Session(1, self._clock())
                    self._sessions.setdefault(caller, {})[given] = known
                    self._give_back(caller)
                    holds_place = False
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            if holds_place:
                self._give_back(caller)
            if known is not None:
                known.requests -= 1
                known.last_seen = self._clock()

    def _forget(self, caller: str, name: str) -> None:
        sessions = self._sessions.get(caller, {})
        sessions.pop(name, None)
        if not sessions:
            self._sessions.pop(caller, None)

    def _give_back(self, caller: str) -> None:
        self._opening[caller] -= 1
        if not self._opening[caller]:
            del self._opening[caller]

    def _open(self, caller: str) -> int:
        """The caller's sessions. Those that were idle for too long are forgotten, whosesoever they are."""
        oldest = self._clock() - DEFAULT_SESSION_IDLE_TIMEOUT
        for who, sessions in list(self._sessions.items()):
            for name, each in list(sessions.items()):
                if not each.requests and each.last_seen < oldest:
                    self._forget(who, name)
        return len(self._sessions.get(caller, {}))
