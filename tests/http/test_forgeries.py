"""Ten thousand forged, malformed and replayed callbacks: nothing changes, few queries go, memory stays flat."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.client import Client

from nano_banana_mcp.hosting.webhook import KeyRing
from nano_banana_mcp.sandbox.config import SandboxConfig
from tests.http.test_serve import Served
from tests.http.test_webhook import make, reachable
from tests.support.clients import facts

FORGERIES = 10_000
CONNECTIONS = 4
MOST_GROWTH_BYTES = 6 * 1024 * 1024

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")


def memory(server: Served) -> int:
    """Resident bytes of the server's process."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * 4096


def request(host: str, path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def answered(stream: SocketStream, answers: BufferedByteReceiveStream, sent: bytes) -> tuple[int, bytes]:
    """The status and body of the answer, on a connection that is kept."""
    await stream.send(sent)
    head = (await answers.receive_until(b"\r\n\r\n", 65_536)).decode().lower()
    length = head.partition("content-length:")[2].partition("\r\n")[0].strip()
    body = await answers.receive_exactly(int(length)) if length not in ("", "0") else b""
    return int(head.split()[1]), body


def forgeries(opened: tuple[str, str], finished: tuple[str, str]) -> list[tuple[str, bytes, int]]:
    """Paths, bodies, and what the answer has to be; ``opened`` and ``finished`` are each an address and a task."""
    address, task_id = opened
    root, intent_id, signature = address.rsplit("/", 2)
    lie = json.dumps(
        {"task_id": task_id, "status": "success", "result": [{"image": "https://evil.example/x.png"}]}
    ).encode()
    failed = json.dumps({"task_id": finished[1], "status": "failed", "result": None}).encode()
    stranger = KeyRing([b"another key"])
    flipped = signature[:-1] + ("1" if signature.endswith("0") else "0")
    return [
        (f"{root}/{intent_id}/{flipped}", lie, 404),
        (f"{root}/{intent_id}/{stranger.sign(intent_id)}", lie, 404),
        (f"{root}/in-{{number}}/{signature}", lie, 404),
        (f"{root}/in-{{number}}/{{number:064x}}", lie, 404),
        (address, b"no json {number}", 404),
        (address, b'{"task_id": {number}}', 404),
        (address, b'{"task_id": "ta-{number}"}', 404),
        (address, b'{"task_id": "ta-1", "x": "' + b"a" * 2_000 + b'"}', 404),
        (address, lie, 204),
        (finished[0], failed, 204),
    ]


async def test_ten_thousand_forgeries_change_nothing_and_cost_next_to_nothing() -> None:
    async with reachable(SandboxConfig(seconds=3600)) as (sandbox, server, client):
        done = await make(client, "a cat sandbox:seconds=0.5")
        before = facts(await client.call_tool("wait_for_image", {"task_id": done}))
        assert before["status"] == "success"
        left_open = await make(client)
        addresses = {task.id: task.order.callback_url or "" for task in sandbox.tasks}
        paths = {task_id: address.removeprefix(server.root) for task_id, address in addresses.items()}
        kinds = forgeries((paths[left_open], left_open), (paths[done], done))
        spent_on_done = sandbox.stats.queries_by_task[done]
        measured: list[int] = []
        began = anyio.current_time()

        async def attack(numbers: range) -> None:
            host = server.root.removeprefix("http://")
            async with await anyio.connect_tcp("127.0.0.1", int(host.rpartition(":")[2])) as stream:
                answers = BufferedByteReceiveStream(stream)
                for number in numbers:
                    path, body, wanted = kinds[number % len(kinds)]
                    path = path.replace("{number}", str(number)).replace("{number:064x}", f"{number:064x}")
                    body = body.replace(b"{number}", str(number).encode())
                    status, text = await answered(stream, answers, request(host, path, body))
                    assert status == wanted, (path, body[:60])
                    assert text == (b"Not Found" if wanted == 404 else b"")

        for share in (range(FORGERIES // 4), range(FORGERIES // 4, FORGERIES)):
            async with anyio.create_task_group() as group:
                for first in range(CONNECTIONS):
                    group.start_soon(attack, share[first::CONNECTIONS])
            measured.append(memory(server))
        seconds = anyio.current_time() - began

        assert measured[1] - measured[0] <= MOST_GROWTH_BYTES
        assert sandbox.stats.queries_by_task[done] == spent_on_done
        assert 1 <= sandbox.stats.queries_by_task[left_open] <= 1 + seconds / 2
        assert set(sandbox.stats.queries_by_task) == {done, left_open}
        await unchanged(client, done, before)
        now = facts(await client.call_tool("get_task", {"task_id": left_open}))
        assert now["finished"] is False
        assert now["images"] == []


async def unchanged(client: Client, task_id: str, before: dict[str, object]) -> None:
    now = facts(await client.call_tool("get_task", {"task_id": task_id}))
    assert {name: now[name] for name in ("status", "images", "credits_consumed", "message")} == {
        name: before[name] for name in ("status", "images", "credits_consumed", "message")
    }
