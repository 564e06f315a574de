"""How many sessions a caller may hold, however they go about it."""

from __future__ import annotations

import anyio
import httpx
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER
from mcp.server.streamable_http_manager import DEFAULT_SESSION_IDLE_TIMEOUT
from starlette.types import Receive, Scope, Send

from nano_banana_mcp.http.middleware.sessions import SessionLimit


class Opener:
    """Opens a session when told to, or refuses to, as the SDK does once it has the body."""

    def __init__(self) -> None:
        self.arrived = 0
        self.opens = True
        self.body = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.arrived += 1
        await self.body.wait()
        headers = [(MCP_SESSION_ID_HEADER.encode(), str(self.arrived).encode())] if self.opens else []
        status = 200 if self.opens else 400
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


class Callers:
    """Sends requests through the limit, as whom one likes."""

    def __init__(self, most: int) -> None:
        self.now = 0.0
        self.opener = Opener()
        self.limit = SessionLimit(self.opener, most, lambda: self.now)
        self.statuses: list[int] = []

    async def open(self, who: str) -> None:
        async def as_caller(scope: Scope, receive: Receive, send: Send) -> None:
            user = AuthenticatedUser(AccessToken(token="t", client_id=who, scopes=[]))
            await self.limit({**scope, "user": user}, receive, send)

        transport = httpx.ASGITransport(as_caller)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            self.statuses.append((await client.post("/mcp")).status_code)


async def test_requests_without_their_bodies_yet_take_places_too() -> None:
    callers = Callers(most=2)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(callers.open, "alice")
        await anyio.wait_all_tasks_blocked()
        assert callers.opener.arrived == 2
        callers.opener.body.set()
    assert sorted(callers.statuses) == [200, 200, 503, 503, 503]
    await callers.open("bob")
    assert callers.statuses[-1] == 200


async def test_a_place_is_given_back_where_no_session_came() -> None:
    callers = Callers(most=1)
    callers.opener.body.set()
    callers.opener.opens = False
    for _ in range(3):
        await callers.open("alice")
    callers.opener.opens = True
    await callers.open("alice")
    await callers.open("alice")
    assert callers.statuses == [400, 400, 400, 200, 503]


async def test_nothing_is_kept_of_callers_who_left_long_ago() -> None:
    callers = Callers(most=1)
    callers.opener.body.set()
    for number in range(5):
        await callers.open(f"subject {number}")
    callers.now += DEFAULT_SESSION_IDLE_TIMEOUT + 1
    await callers.open("alice")
    assert callers.limit.callers == {"alice"}
