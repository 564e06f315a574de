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

from tests.support.discovery import MODERN, envelope
from tests.support.team import ACCEPT

AT_ONCE = 32
"""Clients that submit, connect, or begin to wait without the SDK at the same time."""


async def work(order: dict[str, Any]) -> dict[str, Any]:
    """Do what is ordered: ``submit`` pictures, ``wait`` for tasks all at once, or ``call`` a tool in turn.

    ``wait_plainly`` waits without the SDK: three thousand of its clients would keep this process so busy that it opens
    a connection, and sends nothing on it for the 10 s after which a server closes it.
    """
    match order["do"]:
        case "submit":
            return await _submit(order)
        case "wait":
            return await _wait(order)
        case "wait_plainly":
            return await _wait_plainly(order)
        case _:
            return await _call(order)


@asynccontextmanager
async def _client(url: str, mode: Any) -> AsyncIterator[Client]:
    async with _http() as http, Client(streamable_http_client(url, http_client=http), mode=mode) as client:
        yield client


def _http() -> httpx2.AsyncClient:
    # A pool of its own, as any client has: one for all would go through thousands of connections at each request.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx2.AsyncClient(limits=limits, timeout=httpx2.Timeout(60, read=300), trust_env=False, verify=False)


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
    waiting: set[str] = set()
    go = anyio.Event()
    connecting = anyio.Semaphore(AT_ONCE)

    async def be_client(task_id: str, *, task_status: TaskStatus[None]) -> None:
        # In a task of its own: of a thousand clients in one task, each would be inside the cancel scopes of all before.
        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            if task_id not in waiting:
                waiting.add(task_id)
                if len(waiting) == len(set(order["task_ids"])):
                    _say({"waiting": True})

        end = None
        try:
            await connecting.acquire()
            async with _client(order["url"], order["mode"]) as client:
                await client.list_tools()  # not when it has an answer: the server may have gone by then
                connecting.release()
                task_status.started()
                await go.wait()
                arguments = _arguments(order, task_id)
                result = await client.call_tool("wait_for_image", arguments, progress_callback=on_progress)
                end = _end(result.structured_content)
        except Exception as error:  # noqa: BLE001 - counted
            end = end or _named(error)  # the answer counts, even if the connection does not end well
        ends[end] += 1

    async with anyio.create_task_group() as group:
        async with anyio.create_task_group() as starting:
            for task_id in order["task_ids"]:
                starting.start_soon(group.start, be_client, task_id)
        _say({"ready": True})
        began = time.perf_counter()
        go.set()
    return {"ends": ends, "seconds": time.perf_counter() - began}


async def _wait_plainly(order: dict[str, Any]) -> dict[str, Any]:
    ends: Counter[str] = Counter()
    beginning = anyio.Semaphore(AT_ONCE)
    headers = {**ACCEPT, "MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "wait_for_image"}

    async def wait(task_id: str) -> None:
        params = {"name": "wait_for_image", "arguments": _arguments(order, task_id), **envelope(progressToken=task_id)}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        try:
            async with _http() as http:
                async with beginning:
                    request = http.build_request("POST", order["url"], json=body, headers=headers)
                    response = await http.send(request, stream=True)  # until the server reports that it waits
                *_, last = [line async for line in response.aiter_lines() if line.startswith(("data: ", "{"))]
            end = _end(json.loads(last.removeprefix("data: "))["result"].get("structuredContent"))
        except Exception as error:  # noqa: BLE001 - counted
            end = _named(error)
        ends[end] += 1

    _say({"ready": True})
    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for task_id in order["task_ids"]:
            group.start_soon(wait, task_id)
    return {"ends": ends, "seconds": time.perf_counter() - began}


def _arguments(order: dict[str, Any], task_id: str) -> dict[str, Any]:
    return {"task_id": task_id, "timeout_seconds": order["timeout"]}


def _end(said: dict[str, Any] | None) -> str:
    if said is None:
        return "no structured answer"
    return said["status"] if said["finished"] else "next step"


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
