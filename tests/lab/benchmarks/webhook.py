"""How soon the end of an image reaches a waiting client, and for how many queries: real processes, real sockets.

Each scenario has a fresh server: nothing is known of latencies or callbacks when its first picture is asked for.
"""

from __future__ import annotations

import math
import random
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import anyio
import httpx
from mcp.client import Client

from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.sandbox import Sandbox
from nano_banana_sandbox.server import serve_sandbox
from tests.lab.benchmarks.detection import FIXED_SECONDS
from tests.lab.benchmarks.figures import Row, Trade
from tests.lab.benchmarks.noticing import LOST, Noticed, promises
from tests.support.clients import KEY, facts
from tests.support.http_server import at
from tests.support.http_server import served_process as served

MEDIAN_SECONDS = 3.0
SIGMA = 0.4
AT_ONCE = 60
ONE_BY_ONE = 20

Drawings = list[tuple[float, bool]]
"""How many seconds each takes, and whether its callback is lost."""


def images(count: int, *, lost: int = 0) -> Drawings:
    """Tasks of which one in ``lost`` loses its callback: the same ones each time."""
    dice = random.Random(count)
    return [
        (round(MEDIAN_SECONDS * math.exp(dice.gauss(0, SIGMA)), 2), lost > 0 and number % lost == lost // 2)
        for number in range(count)
    ]


async def measure(wanted: Drawings, *, webhook: bool, at_once: bool) -> Noticed:
    """Make them on a fresh server, each waited for by a call."""
    lags: list[float] = []
    async with _running(webhook) as (sandbox, client):

        async def one(number: int, seconds: float, lost: bool) -> None:
            prompt = f"cat {number} sandbox:seconds={seconds}{' sandbox:callback=lost' if lost else ''}"
            task_id = facts(await client.call_tool("generate_image", {"prompt": prompt}))["task_id"]
            done = facts(await client.call_tool("wait_for_image", {"task_id": task_id, "timeout_seconds": 120}))
            lags.append(_lag(sandbox, task_id))
            assert done["status"] == "success", done

        async with anyio.create_task_group() as group:
            for number, (seconds, lost) in enumerate(wanted):
                if at_once:
                    group.start_soon(one, number, seconds, lost)
                else:
                    await one(number, seconds, lost)
        return Noticed(tuple(lags), sandbox.stats.queries / len(wanted))


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


async def ask_every(interval: float, wanted: Drawings) -> Noticed:
    """Make them at once, and ask for each at a fixed interval, without any server between: a bare client."""
    lags: list[float] = []
    headers = {"Authorization": f"Bearer {KEY}"}
    # After 5 s the sandbox closes what is idle: in the moment of its reuse that would be an error.
    limits = httpx.Limits(max_connections=None, keepalive_expiry=1)
    async with (
        serve_sandbox(SandboxConfig()) as sandbox,
        httpx.AsyncClient(base_url=sandbox.url, headers=headers, limits=limits, trust_env=False) as http,
    ):

        async def one(seconds: float) -> None:
            order = {"model": "google/gempix2", "prompt": f"cat sandbox:seconds={seconds}"}
            task_id = (await http.post("/api/image/gen", json=order)).json()["data"]["task_id"]
            status = ""
            while status != "success":
                await anyio.sleep(interval)
                answer = await http.get("/api/task/query", params={"task_id": task_id})
                status = answer.json()["data"]["status"]
            lags.append(_lag(sandbox, task_id))

        async with anyio.create_task_group() as group:
            for seconds, _ in wanted:
                group.start_soon(one, seconds)
        return Noticed(tuple(lags), sandbox.stats.queries / len(wanted))


async def side_by_side(running: Mapping[str, Callable[[], Awaitable[Noticed]]]) -> dict[str, Noticed]:
    """All of them at the same time: little to do for any."""
    results: dict[str, Noticed] = {}

    async def run(name: str, measure: Callable[[], Awaitable[Noticed]]) -> None:
        results[name] = await measure()

    async with anyio.create_task_group() as group:
        for name, measure in running.items():
            group.start_soon(run, name, measure)
    return {name: results[name] for name in running}


def scenarios(count: int, *, at_once: bool) -> Mapping[str, Callable[[], Awaitable[Noticed]]]:
    """Polling alone, and a webhook of whose callbacks none, some and all are lost."""
    alone = {"polling alone": partial(measure, images(count), webhook=False, at_once=at_once)}
    return alone | {
        name: partial(measure, images(count, lost=lost), webhook=True, at_once=at_once)
        for lost, name in LOST.items()
        if lost <= 10
    }


def rows(quick: bool) -> Iterator[Row | Trade]:
    """Sixty at once, and twenty one by one."""
    # With sixty at once there is much to do: one scenario after another.
    count = 20 if quick else AT_ONCE
    running = scenarios(count, at_once=True)
    results = anyio.run(side_by_side, running) if quick else {name: anyio.run(run) for name, run in running.items()}
    intervals = {f"fixed {seconds} s": partial(ask_every, seconds, images(count)) for seconds in FIXED_SECONDS}
    fixed = anyio.run(side_by_side, intervals)
    yield from (_trade(name, None, one) for name, one in fixed.items())
    yield from (_trade(name, True, one) for name, one in results.items())
    others = "".join(f", {name}: {one.p95:.2f}" for name, one in fixed.items())
    yield from promises(f"{MEDIAN_SECONDS:g} s, {count} at once", results, others, at_once=True)
    if not quick:
        running = scenarios(ONE_BY_ONE, at_once=False)
        less_urgent = {name: run for name, run in running.items() if name != "webhook"}
        # Milliseconds count for it, so nothing else runs meanwhile.
        results = {"webhook": anyio.run(running["webhook"])} | anyio.run(side_by_side, less_urgent)
        yield from (_trade(name, False, one) for name, one in results.items())
        yield from promises(f"{MEDIAN_SECONDS:g} s, {ONE_BY_ONE} one by one", results, at_once=False)


def _trade(name: str, at_once: bool | None, results: Noticed) -> Trade:
    return Trade(MEDIAN_SECONDS, name, at_once, True, results.lag, results.p95, results.queries)


def _lag(sandbox: Sandbox, task_id: str) -> float:
    answered = time.monotonic()
    task = sandbox.store.find(task_id)
    assert task is not None
    return answered - (task.born + task.directives.seconds)
