"""The cost of a call over stdio and over HTTP, compared to the parts that every server needs.

Server, stand-in API and the yardstick each run in a process of their own; all are called in turn.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from tests.lab.benchmarks import load
from tests.lab.benchmarks.figures import Row
from tests.support.clients import KEY, child_at, clean_environment, facts

TARGET_OPEN_RATIO = 1.2
TARGET_FINISHED_RATIO = 1.3
TARGET_SUBMIT_RATIO = 1.6
WARM_UP = 5

Call = Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class PerCall:
    """Seconds of each call, in the order in which they were made."""

    finished: list[float]
    open: list[float]
    submit: list[float]
    echo: list[float]
    get: list[float]
    post: list[float]


async def measure(transport: str, rounds: int) -> PerCall:
    """Call all in turn, ``rounds`` times: the task that is open costs a query at each look."""
    async with _running(transport) as (ours, bare, http):
        done = facts(await ours.call_tool("generate_image", {"prompt": "sandbox:seconds=0", "wait_seconds": 60}))
        assert done["finished"], done
        task_id = facts(await ours.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
        calls: list[Call] = [
            lambda: ours.call_tool("get_task", {"task_id": done["task_id"]}),
            lambda: ours.call_tool("get_task", {"task_id": task_id}),
            lambda: ours.call_tool("generate_image", {"prompt": "a cat"}),
            lambda: bare.call_tool("echo", {"text": task_id}),
            lambda: http.get("/api/task/query", params={"task_id": task_id}),
            lambda: http.post("/api/image/gen", json={"model": "google/gempix2", "prompt": "a cat"}),
        ]
        times: list[list[float]] = [[] for _ in calls]
        for number in range(rounds + WARM_UP):
            for call, taken in zip(calls, times, strict=True):
                began = time.perf_counter()
                result = await call()
                seconds = time.perf_counter() - began
                assert result.is_success if isinstance(result, httpx.Response) else not result.is_error, result
                if number >= WARM_UP:
                    taken.append(seconds)
    return PerCall(*times)


@asynccontextmanager
async def _running(transport: str) -> AsyncIterator[tuple[Client, Client, httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        api = stack.enter_context(load.sandbox(3600))
        if transport == "stdio":
            state = stack.enter_context(tempfile.TemporaryDirectory())
            command = ["-m", "tests.lab.benchmarks.echo_server"]
            ours: Any = child_at(api, NANO_BANANA_STATE_DIR=state)
            bare: Any = StdioServerParameters(command=sys.executable, args=command, env=clean_environment())
        else:
            ours, bare = (f"{stack.enter_context(run)[1]}/mcp" for run in (load.server(api), load.echo()))
        headers = {"Authorization": f"Bearer {KEY}"}
        http = httpx.AsyncClient(base_url=api, headers=headers, trust_env=False)
        clients = (Client(ours), Client(bare), http)
        yield tuple([await stack.enter_async_context(client) for client in clients])  # type: ignore[misc]  # three of them


def rows(quick: bool) -> Iterator[Row]:
    """The ratios for either transport, and the throughput over HTTP."""
    for transport, name in (("stdio", "stdio"), ("http", "HTTP")):
        times = anyio.run(measure, transport, 30 if quick else 200)
        yield _ratio(
            f"get_task of an open task over {name}",
            times.open,
            "echo + GET",
            (times.echo, times.get),
            TARGET_OPEN_RATIO,
        )
        yield _ratio(
            f"get_task of a finished task over {name}",
            times.finished,
            "echo",
            (times.echo,),
            TARGET_FINISHED_RATIO,
        )
        parts = (times.echo, times.post)
        yield _ratio(
            f"generate_image over {name}, without waiting",
            times.submit,
            "echo + POST",
            parts,
            TARGET_SUBMIT_RATIO,
        )
    pairs = load.throughput(3 if quick else 7)
    yield Row(
        "get_task of a finished task over HTTP, calls a second, 4 clients",
        statistics.median(pairs),
        "×",
        "calls a second of a bare SDK echo",
        "≥",
        load.TARGET_THROUGHPUT,
        f"pairs {min(pairs):.2f}-{max(pairs):.2f}",
    )


def _ratio(what: str, ours: list[float], named: str, parts: tuple[list[float], ...], target: float | None) -> Row:
    """The ratio of the medians."""
    whole = [sum(seconds_of_parts) for seconds_of_parts in zip(*parts, strict=True)]
    of_parts = " + ".join(f"{statistics.median(part) * 1000:.1f}" for part in parts)
    quarters = statistics.quantiles([mine / other for mine, other in zip(ours, whole, strict=True)], n=4)
    return Row(
        what,
        statistics.median(ours) / sum(statistics.median(part) for part in parts),
        "×",
        f"bare {named} = {of_parts} ms",
        target=target,
        spread=f"middle half of the rounds {quarters[0]:.2f}-{quarters[2]:.2f}",
    )
