"""Many real clients in a process of their own: one order as JSON on stdin, one report as JSON on stdout.

A bench needs them apart from the server and the stand-in API, whose processor time is not theirs.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import httpx2
from anyio.abc import TaskStatus
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

AT_ONCE = 32
"""Clients that submit, or connect, at the same time."""


async def work(order: dict[str, Any]) -> dict[str, Any]:
    """Do what is ordered: ``submit`` pictures, ``wait`` for tasks all at once, or ``call`` a tool in turn."""
    match order["do"]:
        case "submit":
            return await _submit(order)
        case "wait":
            return await _wait(order)
        case _:
            return await _call(order)


@asynccontextmanager
async def _client(url: str, mode: Any) -> AsyncIterator[Client]:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    timeout = httpx2.Timeout(60, read=300)
    async with (
        # A pool of its own, as any client has: one for all would go through thousands of connections at each request.
        httpx2.AsyncClient(limits=limits, timeout=timeout, trust_env=False, verify=False) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def _submit(order: dict[str, Any]) -> dict[str, Any]:
    numbers = iter(range(order["count"]))
    task_ids: list[str] = []

    async def submit() -> None:
        async with _client(order["url"], order["mode"]) as client:
            for number in numbers:
                made = await client.call_tool("generate_image", {"prompt": f"cat {number}"})
                assert made.structured_content, made.content
                task_ids.append(made.structured_content["task_id"])

    async with anyio.create_task_group() as group:
        for _ in range(min(AT_ONCE, order["count"])):
            group.start_soon(submit)
    return {"task_ids": task_ids}


async def _wait(order: dict[str, Any]) -> dict[str, Any]:
    ends: Counter[str] = Counter()
    reported: set[str] = set()
    go = anyio.Event()
    connecting = anyio.Semaphore(AT_ONCE)

    async def wait(client: Client, task_id: str) -> None:
        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            reported.add(task_id)
            if len(reported) == len(set(order["task_ids"])) and "all wait" not in reported:
                reported.add("all wait")
                _say({"waiting": True})

        try:
            result = await client.call_tool(
                "wait_for_image",
                {"task_id": task_id, "timeout_seconds": order["timeout"]},
                progress_callback=on_progress if order["progress"] else None,
            )
        except Exception as error:  # noqa: BLE001 - counted
            ends[_named(error)] += 1
            return
        said = result.structured_content
        ends["no structured answer" if said is None else said["status"] if said["finished"] else "next step"] += 1

    async def be_client(task_ids: list[str], *, task_status: TaskStatus[None]) -> None:
        # In a task of its own: of a thousand clients in one task, each would be inside the cancel scopes of all before.
        ended_before = 0
        try:
            await connecting.acquire()
            async with _client(order["url"], order["mode"]) as client:
                await client.list_tools()  # not when it has an answer: the server may have gone by then
                connecting.release()
                task_status.started()
                await go.wait()
                async with anyio.create_task_group() as waits:
                    for task_id in task_ids:
                        waits.start_soon(wait, client, task_id)
                ended_before = len(task_ids)
        except Exception as error:  # noqa: BLE001 - counted
            ends[_named(error)] += len(task_ids) - ended_before

    async with anyio.create_task_group() as group:
        async with anyio.create_task_group() as starting:
            for number in range(order["clients"]):
                starting.start_soon(group.start, be_client, order["task_ids"][number :: order["clients"]])
        _say({"ready": True})
        began = time.perf_counter()
        go.set()
        while sum(ends.values()) < len(order["task_ids"]):
            await anyio.sleep(0.1)
        seconds = time.perf_counter() - began
    return {"ends": ends, "seconds": seconds}


def _named(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"[:120]


async def _call(order: dict[str, Any]) -> dict[str, Any]:
    """Call each place's tool in turn, ``calls`` a round by all clients; seconds of each round, by place."""
    async with AsyncExitStack() as open_clients:
        places = [
            (
                place,
                [
                    await open_clients.enter_async_context(_client(place["url"], order["mode"]))
                    for _ in range(order["clients"])
                ],
            )
            for place in order["places"]
        ]
        times: list[list[float]] = [[] for _ in places]
        for number in range(order["rounds"] + 1):
            turn = list(zip(places, times, strict=True))
            for (place, clients), taken in turn if number % 2 else reversed(turn):
                began = time.perf_counter()
                async with anyio.create_task_group() as group:
                    for client in clients:
                        group.start_soon(_again, client, place, order["calls"])
                if number:
                    taken.append(time.perf_counter() - began)
    return {"times": times}


async def _again(client: Client, place: dict[str, Any], calls: int) -> None:
    for _ in range(calls):
        result = await client.call_tool(place["tool"], place["arguments"])
        assert not result.is_error, result.content


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    _say(anyio.run(work, json.loads(sys.stdin.readline())))
