"""One call of the client against one script of faults."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import trio
import trio.testing
from pydantic import SecretStr

from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import DefapiError
from nano_banana_mcp.defapi.schemas import SubmitRequest, TaskSnapshot
from tests.support.fault_server import FaultServer, Step, fault_server

KEY = "dk-canary-0f1e2d3c4b5a"
TASK = "ta823dfb-eb73-4bb0-a4c6-7cf2f14e2e4e"
REQUEST = SubmitRequest(model="google/gempix2", prompt="a hill")
TAKEN = {"code": 0, "message": "ok", "data": {"task_id": TASK}}
MAX_TEST_SECONDS = 60.0


@dataclass
class CallOutcome:
    """How one call ended, and what of it reached the server."""

    server: FaultServer
    value: Any = None
    failure: DefapiError | None = None

    @property
    def task_id(self) -> str:
        assert self.failure is None, self.failure
        assert isinstance(self.value, str)
        return self.value

    @property
    def snapshot(self) -> TaskSnapshot:
        assert self.failure is None, self.failure
        assert isinstance(self.value, TaskSnapshot)
        return self.value

    @property
    def error(self) -> DefapiError:
        assert self.failure is not None, f"no error but {self.value!r}"
        return self.failure


@asynccontextmanager
async def client_of(url: str, timeout: float = MAX_TEST_SECONDS) -> AsyncIterator[DefapiClient]:
    client = DefapiClient(url, SecretStr(KEY), timeout_seconds=timeout)
    try:
        yield client
    finally:
        await client.aclose()


async def submit_to(
    script: Step | Sequence[Step], timeout: float = MAX_TEST_SECONDS, request: SubmitRequest = REQUEST
) -> CallOutcome:
    """Submit once."""
    return await _outcome(script, lambda client: client.submit(request), timeout)


async def query_to(
    script: Step | Sequence[Step], task_id: str = TASK, timeout: float = MAX_TEST_SECONDS
) -> CallOutcome:
    """Query once."""
    return await _outcome(script, lambda client: client.query(task_id), timeout)


async def credits_from(script: Step | Sequence[Step]) -> CallOutcome:
    """Ask for the credits once."""
    return await _outcome(script, DefapiClient.credits)


def shown(error: BaseException) -> str:
    """All the text that an error can end up as, in an answer or in a log."""
    parts = [str(error), repr(error), str(getattr(error, "hint", "")), str(getattr(error, "message", ""))]
    return "\n".join([*parts, *traceback.format_exception(error)])


def virtually(run: Callable[[], Awaitable[None]]) -> None:
    """Run on a clock that jumps to the next deadline once nothing has moved for a while.

    The threshold, in seconds, leaves the loopback, which is no task, ample real time on a busy machine.
    """
    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0.2))


async def _outcome(
    script: Step | Sequence[Step],
    call: Callable[[DefapiClient], Awaitable[Any]],
    timeout: float = MAX_TEST_SECONDS,
) -> CallOutcome:
    async with fault_server(script) as server, client_of(server.url, timeout) as client:
        outcome = CallOutcome(server)
        with anyio.fail_after(100):
            try:
                outcome.value = await call(client)
            except DefapiError as error:
                outcome.failure = error
    assert outcome.failure is None or KEY not in shown(outcome.failure)
    return outcome
