"""Many forged, malformed and replayed callbacks, and their cost, read from ``/proc``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from nano_banana_mcp.http.signing import KeyRing
from nano_banana_mcp.tracking.callbacks import SPACING_SECONDS
from nano_banana_mcp.tracking.schedule import Schedule
from tests.support.clients import facts
from tests.support.http_server import ServedProcess, make, reachable_process
from tests.support.sandbox import plain_config

CONNECTIONS = 4

Facts = dict[str, Any]


@dataclass(frozen=True)
class Attacked:
    """The outcome of the forgeries.

    Attributes:
        growth: Bytes of resident memory that all but the first quarter of them added.
        queries: By task; ``done`` and ``left_open`` are the two there were.
        spent_on_done: Queries for ``done`` before the attack.
        before: The state of ``done`` before the attack.
        after: Its state after the attack.
        still_open: The state of ``left_open`` after the attack.
        unexpected: Answers that were not what they have to be.
    """

    seconds: float
    growth: int
    queries: dict[str, int]
    done: str
    left_open: str
    spent_on_done: int
    before: Facts
    after: Facts
    still_open: Facts
    unexpected: list[str]

    @property
    def max_queries(self) -> float:
        """Maximum of queries for the open task: those that callbacks lead to, and those of the sweeper."""
        schedule = Schedule()
        sweeping = self.seconds - schedule.sweep_first
        swept = 0.0 if sweeping < 0 else 1 + sweeping / schedule.min_sweep_interval
        return 1 + self.seconds / SPACING_SECONDS + swept

    @property
    def changes(self) -> int:
        """Facts that the attack changed."""
        names = ("status", "images", "credits_consumed", "message")
        ended = bool(self.still_open["finished"] or self.still_open["images"])
        return sum(bool(self.after[name] != self.before[name]) for name in names) + ended


def memory(server: ServedProcess) -> int:
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
    root, generation_id, signature = address.rsplit("/", 2)
    lie = json.dumps(
        {"task_id": task_id, "status": "success", "result": [{"image": "https://evil.example/x.png"}]}
    ).encode()
    failed = json.dumps({"task_id": finished[1], "status": "failed", "result": None}).encode()
    stranger = KeyRing([b"another key"])
    flipped = signature[:-1] + ("1" if signature.endswith("0") else "0")
    return [
        (f"{root}/{generation_id}/{flipped}", lie, 404),
        (f"{root}/{generation_id}/{stranger.sign(generation_id)}", lie, 404),
        (f"{root}/in-{{number}}/{signature}", lie, 404),
        (f"{root}/in-{{number}}/{{number:064x}}", lie, 404),
        (address, b"no json {number}", 404),
        (address, b'{"task_id": {number}}', 404),
        (address, b'{"task_id": "ta-{number}"}', 404),
        (address, b'{"task_id": "ta-1", "x": "' + b"a" * 2_000 + b'"}', 404),
        (address, lie, 204),
        (finished[0], failed, 204),
    ]


async def attacked(forged: int) -> Attacked:
    """A server with a finished and an open task receives ``forged`` forgeries."""
    async with reachable_process(plain_config(seconds=3600)) as (sandbox, server, client):
        done = await make(client, "a cat sandbox:seconds=0.5")
        before = facts(await client.call_tool("wait_for_image", {"task_id": done}))
        assert before["status"] == "success"
        left_open = await make(client)
        addresses = {task.id: task.order.callback_url or "" for task in sandbox.tasks}
        paths = {task_id: address.removeprefix(server.root) for task_id, address in addresses.items()}
        kinds = forgeries((paths[left_open], left_open), (paths[done], done))
        spent_on_done = sandbox.stats.queries_by_task[done]
        measured: list[int] = []
        unexpected: list[str] = []
        began = anyio.current_time()

        async def attack(numbers: range) -> None:
            host = server.root.removeprefix("http://")
            async with await anyio.connect_tcp("127.0.0.1", int(host.rpartition(":")[2])) as stream:
                answers = BufferedByteReceiveStream(stream)
                for number in numbers:
                    path, body, wanted = kinds[number % len(kinds)]
                    path = path.replace("{number}", str(number)).replace("{number:064x}", f"{number:064x}")
                    body = body.replace(b"{number}", str(number).encode())
                    status, said = await answered(stream, answers, request(host, path, body))
                    if status != wanted or said != (b"Not Found" if wanted == 404 else b""):
                        unexpected.append(f"{status} {said[:60]!r} for {path} {body[:60]!r}")

        for share in (range(forged // 4), range(forged // 4, forged)):
            async with anyio.create_task_group() as group:
                for first in range(CONNECTIONS):
                    group.start_soon(attack, share[first::CONNECTIONS])
            measured.append(memory(server))
        return Attacked(
            anyio.current_time() - began,
            measured[1] - measured[0],
            dict(sandbox.stats.queries_by_task),
            done,
            left_open,
            spent_on_done,
            before,
            facts(await client.call_tool("get_task", {"task_id": done})),
            facts(await client.call_tool("get_task", {"task_id": left_open})),
            unexpected,
        )
