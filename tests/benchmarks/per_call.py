"""What a ``get_task`` call costs over stdio, against a bare echo call plus a bare GET to the same sandbox."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from nano_banana_mcp.sandbox.config import SandboxConfig
from nano_banana_mcp.sandbox.server import serve_sandbox
from tests.support.clients import KEY, child_at, clean_environment, facts

TARGET_RATIO = 1.5


@dataclass(frozen=True)
class PerCall:
    """Median seconds of one call each."""

    get_task: float
    echo: float
    get: float

    @property
    def ratio(self) -> float:
        """Ours over the sum of its unavoidable parts."""
        return self.get_task / (self.echo + self.get)


async def measure(rounds: int) -> PerCall:
    """Call all three in turn, ``rounds`` times; the task stays unfinished, so that each look is a query."""
    echo = StdioServerParameters(
        command=sys.executable, args=["-m", "tests.benchmarks.echo_server"], env=clean_environment()
    )
    async with (
        serve_sandbox(SandboxConfig(seconds=3600)) as sandbox,
        Client(child_at(sandbox.url)) as ours,
        Client(echo) as bare,
        httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}) as http,
    ):
        task_id = facts(await ours.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
        url = f"{sandbox.url}/api/task/query"
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: ours.call_tool("get_task", {"task_id": task_id}),
            lambda: bare.call_tool("echo", {"text": task_id}),
            lambda: http.get(url, params={"task_id": task_id}),
        ]
        times: list[list[float]] = [[], [], []]
        for number in range(rounds + 5):
            for call, taken in zip(calls, times, strict=True):
                began = time.perf_counter()
                await call()
                if number >= 5:
                    taken.append(time.perf_counter() - began)
    return PerCall(*(statistics.median(taken) for taken in times))
