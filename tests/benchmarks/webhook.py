"""How soon the end of a picture reaches a waiting client, and for how many queries: real processes, real sockets.

Each scenario has a fresh server: nothing is known of latencies or callbacks when its first picture is asked for.
"""

from __future__ import annotations

import math
import random
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from mcp.client import Client

from nano_banana_mcp.sandbox.config import SandboxConfig
from nano_banana_mcp.sandbox.sandbox import Sandbox
from nano_banana_mcp.sandbox.server import serve_sandbox
from tests.http.test_serve import at, served
from tests.support.clients import facts

MEDIAN_SECONDS = 3.0
SIGMA = 0.4
AT_ONCE = 60
ONE_BY_ONE = 20

TARGET_LAG_SECONDS = 0.05
TARGET_QUERIES = 1.2
TARGET_LAG_WITH_SOME_LOST_SECONDS = 5.0
TARGET_RATIO_WITH_ALL_LOST = 1.1

Pictures = list[tuple[float, bool]]
"""How many seconds each takes, and whether its callback is lost."""


@dataclass(frozen=True)
class Noticed:
    """Seconds from each picture's end to the answer of the call that waited for it, and queries a task."""

    lags: list[float]
    queries: float

    @property
    def mean(self) -> float:
        """Mean lag."""
        return statistics.fmean(self.lags)

    @property
    def p95(self) -> float:
        """The lag that 95 % do not exceed."""
        return sorted(self.lags)[math.ceil(0.95 * len(self.lags)) - 1]


def pictures(count: int, *, lost: int = 0) -> Pictures:
    """So many, of which one in ``lost`` loses its callback: the same ones each time."""
    dice = random.Random(count)
    return [
        (round(MEDIAN_SECONDS * math.exp(dice.gauss(0, SIGMA)), 2), lost > 0 and number % lost == lost // 2)
        for number in range(count)
    ]


async def measure(wanted: Pictures, *, webhook: bool, at_once: bool) -> Noticed:
    """Make them on a fresh server, each waited for by a call."""
    lags: list[float] = []
    async with _running(webhook) as (sandbox, client):

        async def one(number: int, seconds: float, lost: bool) -> None:
            prompt = f"cat {number} sandbox:seconds={seconds}{' sandbox:callback=lost' if lost else ''}"
            task_id = facts(await client.call_tool("generate_image", {"prompt": prompt}))["task_id"]
            done = facts(await client.call_tool("wait_for_image", {"task_id": task_id, "timeout_seconds": 120}))
            answered = time.monotonic()
            assert done["status"] == "success", done
            task = sandbox.store.find(task_id)
            assert task is not None
            lags.append(answered - (task.born + task.directives.seconds))

        async with anyio.create_task_group() as group:
            for number, (seconds, lost) in enumerate(wanted):
                if at_once:
                    group.start_soon(one, number, seconds, lost)
                else:
                    await one(number, seconds, lost)
        return Noticed(lags, sandbox.stats.queries / len(wanted))


@asynccontextmanager
async def _running(webhook: bool) -> AsyncIterator[tuple[Sandbox, Client]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    public = {"NANO_BANANA_PUBLIC_URL": f"http://127.0.0.1:{port}"} if webhook else {}
    with tempfile.TemporaryDirectory() as folder:
        async with serve_sandbox(SandboxConfig()) as sandbox:
            with served("--port", str(port), **at(sandbox.url, NANO_BANANA_STATE_DIR=folder, **public)) as server:
                async with Client(server.url) as client:
                    yield sandbox, client


async def report() -> AsyncIterator[str]:
    """The comparison, line by line."""
    yield f"{'':36} {'p50 lag':>8} {'p95 lag':>8} {'mean':>8} {'queries':>8}"
    for name, count, at_once in (
        (f"{AT_ONCE} at once", AT_ONCE, True),
        (f"{ONE_BY_ONE} one by one", ONE_BY_ONE, False),
    ):
        alone = await measure(pictures(count), webhook=False, at_once=at_once)
        yield _line(f"{name}, polling alone", alone, "")
        found = await measure(pictures(count), webhook=True, at_once=at_once)
        yield _line(f"{name}, webhook", found, f"p95 ≤ {TARGET_LAG_SECONDS} s, queries ≤ {TARGET_QUERIES}")
        found = await measure(pictures(count, lost=10), webhook=True, at_once=at_once)
        yield _line(f"{name}, 10 % lost", found, f"p95 ≤ {TARGET_LAG_WITH_SOME_LOST_SECONDS:g} s")
        found = await measure(pictures(count, lost=1), webhook=True, at_once=at_once)
        limit = TARGET_RATIO_WITH_ALL_LOST * alone.mean
        yield _line(f"{name}, all lost", found, f"mean ≤ {limit:.2f} s")


def _line(name: str, found: Noticed, target: str) -> str:
    median = statistics.median(found.lags)
    figures = f"{median:8.3f} {found.p95:8.3f} {found.mean:8.3f} {found.queries:8.2f}"
    return f"{name:36} {figures}{f'  (target {target})' if target else ''}"


async def show() -> None:
    """Print the comparison as it comes."""
    async for line in report():
        print(line, flush=True)


if __name__ == "__main__":
    anyio.run(show)
