"""`serve --http` with a crowd of waits: all of them are answered. ``make bench`` has the large crowds and the speed."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from nano_banana_mcp.http.server import KEEP_ALIVE_SECONDS
from nano_banana_mcp.tracking.schedule import Schedule
from tests.support.clients import facts
from tests.support.http_server import at, served, served_process
from tests.support.sandbox import plain_sandbox

CROWD = 12
MAX_SECONDS = 240
BURST = 300
QUEUE_LIMIT = Path("/proc/sys/net/core/somaxconn")


@asynccontextmanager
async def connected(url: str, mode: Any = "auto") -> AsyncIterator[Client]:
    """A client whose every call may be under way at once."""
    limits = httpx2.Limits(max_connections=None)
    timeout = httpx2.Timeout(MAX_SECONDS)
    async with (
        httpx2.AsyncClient(limits=limits, timeout=timeout, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def submitted(client: Client, count: int) -> list[str]:
    return [facts(await client.call_tool("generate_image", {"prompt": f"cat {n}"}))["task_id"] for n in range(count)]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_crowd_of_waits_for_as_many_images_all_end_with_them(mode: str) -> None:
    statuses: list[str] = []
    async with (
        plain_sandbox(seconds=1.0) as sandbox,
        served(**at(sandbox.url)) as server,
        connected(server.url, mode) as client,
    ):
        task_ids = await submitted(client, CROWD)

        async def wait(task_id: str) -> None:
            arguments = {"task_id": task_id, "timeout_seconds": MAX_SECONDS}
            statuses.append(facts(await client.call_tool("wait_for_image", arguments))["status"])

        with anyio.fail_after(MAX_SECONDS):
            async with anyio.create_task_group() as group:
                for task_id in task_ids:
                    group.start_soon(wait, task_id)
    assert statuses == ["success"] * CROWD


async def test_health_is_answered_while_a_crowd_starts_to_wait_for_one_image_and_all_get_it() -> None:
    statuses: list[str] = []
    async with (
        plain_sandbox(seconds=2.5) as sandbox,
        served(schedule=Schedule(), **at(sandbox.url)) as server,
        connected(server.url) as client,
        httpx.AsyncClient(trust_env=False, timeout=MAX_SECONDS) as probe,
    ):
        [task_id] = await submitted(client, 1)

        async def wait() -> None:
            arguments = {"task_id": task_id, "timeout_seconds": MAX_SECONDS}
            statuses.append(facts(await client.call_tool("wait_for_image", arguments))["status"])

        with anyio.fail_after(MAX_SECONDS):
            async with anyio.create_task_group() as group:
                for _ in range(CROWD):
                    group.start_soon(wait)
                assert (await probe.get(f"{server.root}/healthz")).json()["status"] == "ok"
    assert statuses == ["success"] * CROWD
    assert sandbox.stats.queries < CROWD


def test_an_idle_connection_is_kept_for_longer_than_clients_keep_one() -> None:
    """A server that closes first may do so in the moment of the next request, and then that request is lost."""
    clients_keep = httpx2.Limits().keepalive_expiry
    assert clients_keep is not None
    assert clients_keep < KEEP_ALIVE_SECONDS


@pytest.mark.skipif(
    sys.platform != "linux" or int(QUEUE_LIMIT.read_text()) < BURST, reason="the system queues fewer connections"
)
def test_a_burst_of_connections_is_queued_while_the_server_is_busy_and_then_answered() -> None:
    with served_process("--sandbox") as server, ExitStack() as connections:
        request = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()
        assert httpx.get(f"{server.root}/healthz", trust_env=False).status_code == 200  # it has started
        os.kill(server.process.pid, signal.SIGSTOP)
        burst = [
            connections.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            for _ in range(BURST)
        ]
        for connection in burst:
            connection.sendall(request)
        os.kill(server.process.pid, signal.SIGCONT)
        assert [connection.recv(1_000)[:12] for connection in burst] == [b"HTTP/1.1 200"] * BURST
