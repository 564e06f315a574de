"""How many bytes of requests may be in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import anyio
import httpx
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from nano_banana_mcp.generations.quotas import Limits, Quotas
from nano_banana_mcp.http.middleware.body_limits import LARGE_BODY_BYTES, BodyLimits

MAX_BODY_BYTES = 1_000


class Uploads:
    """An application that reads a body and answers when the test says so."""

    def __init__(self, max_body_bytes: int = MAX_BODY_BYTES, calls_per_minute: int | None = None) -> None:
        self.now = 0.0
        quotas = Quotas(Limits(calls_per_minute=calls_per_minute), Limits(), clock=lambda: self.now)
        self.limits = BodyLimits(self._read, max_body_bytes, quotas, lambda: self.now)
        self.may_answer = anyio.Event()
        self.statuses: list[int] = []

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        await self.may_answer.wait()
        await PlainTextResponse("served")(scope, receive, send)

    async def upload(self, caller: str, size: int, *, chunked: bool = False) -> None:
        async def as_caller(scope: Scope, receive: Receive, send: Send) -> None:
            user = AuthenticatedUser(AccessToken(token="t", client_id=caller, scopes=[]))
            await self.limits({**scope, "user": user}, receive, send)

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"x" * (size // 100)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(as_caller), base_url="http://localhost") as client:
            content = chunks() if chunked else b"x" * size
            answer = await client.post("/mcp", content=content)
            assert answer.status_code == 200 or int(answer.headers["retry-after"]) >= 1
            self.statuses.append(answer.status_code)


async def test_a_caller_may_have_one_and_a_half_of_the_largest_bodies_in_memory() -> None:
    for chunked in (False, True):
        uploads = Uploads()
        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(partial(uploads.upload, "alice", 700, chunked=chunked))
            await anyio.wait_all_tasks_blocked()
            assert uploads.statuses == [429] * 4
            uploads.may_answer.set()
        assert sorted(uploads.statuses) == [200, 200, 429, 429, 429, 429]
        await uploads.upload("alice", 1_000)
        assert uploads.statuses[-1] == 200


async def test_all_callers_together_may_have_four_of_the_largest_bodies_in_memory() -> None:
    uploads = Uploads()
    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(uploads.upload, f"caller {number}", 1_000)
        await anyio.wait_all_tasks_blocked()
        assert uploads.statuses == [429, 429]
        uploads.may_answer.set()
    assert uploads.statuses.count(200) == 4


async def test_a_length_that_is_refused_anyway_reserves_nothing() -> None:
    uploads = Uploads()
    uploads.may_answer.set()
    async with anyio.create_task_group() as group:
        group.start_soon(uploads.upload, "alice", 1_001)
        group.start_soon(uploads.upload, "alice", 400)
    assert uploads.statuses == [200, 200]


async def test_large_bodies_are_counted_as_calls_before_they_are_read() -> None:
    uploads = Uploads(10 * LARGE_BODY_BYTES, calls_per_minute=2)
    uploads.may_answer.set()
    for chunked in (False, True, False, True):
        await uploads.upload("alice", LARGE_BODY_BYTES * 2, chunked=chunked)
    assert uploads.statuses == [200, 200, 429, 429]
    await uploads.upload("alice", 100)
    await uploads.upload("bob", LARGE_BODY_BYTES)
    assert uploads.statuses[-2:] == [200, 200]
    uploads.now += 30
    await uploads.upload("alice", LARGE_BODY_BYTES)
    assert uploads.statuses[-1] == 200
