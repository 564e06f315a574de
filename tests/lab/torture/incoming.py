"""The fault matrix from the other side: a client that does these things to the webhook and to /mcp."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.lab.torture.accounts import generations
from tests.lab.torture.matrix import faulty_api
from tests.lab.torture.processes import Gone, Http, api, received, text_of
from tests.lab.torture.tally import Tally
from tests.support import faults
from tests.support.broken_tls import finished, taken
from tests.support.fault_server import unused_port

DRIP_SECONDS = 1.0
MAX_MEGABYTES = 1
RECORDED_SECONDS = 20.0

Fault = Callable[[socket.socket, bytes, bytes], None]
"""Sends a request with this head and this body, and something is wrong with it."""


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def _send(data: Callable[[bytes, bytes], bytes], *, reset: bool = False, half: bool = False) -> Fault:
    def fault(sock: socket.socket, head: bytes, body: bytes) -> None:
        sock.sendall(data(head, body))
        if reset:
            _reset(sock)
        elif half:
            sock.shutdown(socket.SHUT_WR)
            received(sock)
        # Else it is simply closed.

    return fault


def _drip(data: Callable[[bytes, bytes], tuple[bytes, bytes]]) -> Fault:
    def fault(sock: socket.socket, head: bytes, body: bytes) -> None:
        at_once, rest = data(head, body)
        sock.sendall(at_once)
        for byte in rest[:20]:
            sock.sendall(bytes([byte]))
            time.sleep(DRIP_SECONDS / 20)

    return fault


def _length(value: Callable[[int], object]) -> Callable[[bytes, bytes], bytes]:
    def changed(head: bytes, body: bytes) -> bytes:
        right = f"Content-Length: {len(body)}".encode()
        return head.replace(right, f"Content-Length: {value(len(body))}".encode()) + body

    return changed


def _chunked(body: bytes) -> Callable[[bytes, bytes], bytes]:
    def changed(head: bytes, whole: bytes) -> bytes:
        return head.replace(f"Content-Length: {len(whole)}".encode(), b"Transfer-Encoding: chunked") + body

    return changed


WHOLE = {"reset after the body", "half-closed after the body", "closed after the body"}
"""Here the request is one: it may be served, once."""

FAULTS: dict[str, Fault] = {
    "reset before the body": _send(lambda head, body: head, reset=True),
    "reset during the body": _send(lambda head, body: head + body[: len(body) // 2], reset=True),
    "reset after the body": _send(lambda head, body: head + body, reset=True),
    "half-closed before the body": _send(lambda head, body: head, half=True),
    "half-closed during the body": _send(lambda head, body: head + body[:-1], half=True),
    "half-closed after the body": _send(lambda head, body: head + body, half=True),
    "closed during the headers": _send(lambda head, body: head[:40]),
    "closed during the body": _send(lambda head, body: head + body[:-1]),
    "closed after the body": _send(lambda head, body: head + body),
    "nothing sent": _send(lambda head, body: b""),
    "slow headers": _drip(lambda head, body: (b"", head)),
    "drip": _drip(lambda head, body: (head, body)),
    "Content-Length too long": _send(_length(lambda right: right + 10), half=True),
    "Content-Length too short": _send(_length(lambda right: right - 10), half=True),
    "Content-Length impossible": _send(_length(lambda right: "many"), half=True),
    "Content-Length below zero": _send(_length(lambda right: -1), half=True),
    "two Content-Lengths": _send(_length(lambda right: f"{right}\r\nContent-Length: {right + 1}"), half=True),
    "impossible chunk": _send(_chunked(b"zz\r\n"), half=True),
    "chunks without an end": _send(_chunked(b'5\r\n{"a":\r\n' * 50), half=True),
    "garbage": _send(lambda head, body: b"\x00\xff not HTTP\r\n\r\n" + body, half=True),
    "garbage for a body": _send(lambda head, body: head + b"\xff" * len(body), half=True),
    "headers without an end": _send(lambda head, body: head[:-2] + b"X-More: y\r\n" * 20_000, half=True),
    "huge body": _send(
        _chunked(b"100000\r\n" + b" " * 0x100000 + b"\r\n" + b"100000\r\n" + b" " * 0x100000 + b"\r\n0\r\n\r\n"),
        half=True,
    ),
    "TLS where none is spoken": _send(
        lambda head, body: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300), half=True
    ),
    "handshake cut": _send(lambda head, body: b"\x16\x03\x01", reset=True),
}


def incoming(folder: Path) -> Iterator[Tally]:
    """The callback (webhook) and the call (/mcp)."""
    port = unused_port()
    with faulty_api() as (upstream, board):
        environment = api(
            upstream.url,
            NANO_BANANA_PUBLIC_URL=f"http://127.0.0.1:{port}",
            NANO_BANANA_MAX_REQUEST_MEGABYTES=MAX_MEGABYTES,
        )
        with Http(folder=folder, port=port, **environment) as server:
            numbers = iter(range(1_000_000))

            def callback_request(path: str, task_id: str) -> tuple[bytes, bytes]:
                body = json.dumps({"task_id": task_id, "status": "success", "result": None}).encode()
                head, _, _ = server.request("POST", path, body, Content_Type="application/json").partition(b"\r\n\r\n")
                return head + b"\r\n\r\n", body

            def callback(fault: Fault) -> str | None:
                task_id = f"ta-back-{next(numbers)}"
                open_ = {"code": 0, "data": {"task_id": task_id, "status": "in_progress"}}
                board.routes = {
                    b"POST /api/image/gen": faults.reply(200, taken(task_id)),
                    b"GET /api/task/query": faults.reply(200, open_),
                }
                server.tool("generate_image", prompt=f"back {task_id}")
                path = upstream.requests[-1].json["callback_url"].partition(f":{port}")[2]
                posts = upstream.posts
                # It may refuse before it has read all.
                with server.socket() as sock, contextlib.suppress(OSError):
                    fault(sock, *callback_request(path, task_id))
                state = server.tool("get_task", task_id=task_id)
                if state["structuredContent"]["finished"]:
                    return f"a broken callback changed the state: {text_of(state)}"
                board.routes[b"GET /api/task/query"] = faults.reply(
                    200, finished(task_id, "https://pictures.example.com/x.png")
                )
                answer = server.ask(b"".join(callback_request(path, task_id)))
                if b" 204 " not in answer.partition(b"\r\n")[0]:
                    return f"a right callback afterwards is answered by {answer[:300]!r}"
                done = server.tool("wait_for_image", task_id=task_id, timeout_seconds=30)
                if done["structuredContent"]["status"] != "success":
                    return f"it is not found finished afterwards: {text_of(done)}"
                return None if upstream.posts == posts else "double: a callback led to a submit"

            def call(name: str, fault: Fault) -> str | None:
                task_id = f"ta-call-{next(numbers)}"
                board.routes = {b"POST /api/image/gen": faults.reply(200, taken(task_id))}
                prompt = f"call {task_id}"
                head, _, body = server.call("generate_image", {"prompt": prompt}).partition(b"\r\n\r\n")
                with server.socket() as sock, contextlib.suppress(OSError):
                    fault(sock, head + b"\r\n\r\n", body)
                if not server.healthy():
                    return "it is not healthy afterwards"
                # What may be served is served by now, or is on its way: it is waited for where it is due.
                until = time.monotonic() + (RECORDED_SECONDS if name == "half-closed after the body" else 0.3)
                while time.monotonic() < until:
                    rows = [item for item in generations(folder) if item.prompt == prompt]
                    if any(row.task_id == task_id for row in rows):
                        break
                    time.sleep(0.05)
                posts = [item for item in upstream.requests if item.method == "POST" and item.json["prompt"] == prompt]
                rows = [item for item in generations(folder) if item.prompt == prompt]
                if len(posts) > 1:
                    return f"double: {len(posts)} submits"
                if posts and name not in WHOLE:
                    return "half a request was paid for"
                if posts and not rows:
                    return "lost: nothing is in the ledger"
                after = f"{prompt}, afterwards"
                made = server.tool("generate_image", prompt=after)
                return text_of(made) if made.get("isError") else None

            for title, cell in (
                ("faults: callback", lambda _, fault: callback(fault)),
                ("faults: call over HTTP", call),
            ):
                tally = Tally(title)
                for name, fault in FAULTS.items():
                    try:
                        why, kind = cell(name, fault), "wrong"
                    except Gone as error:
                        why, kind = str(error), "crashes"
                    if why is None and (unforeseen := server.unforeseen):
                        why, kind = unforeseen, "crashes"
                    if why is None:
                        tally.passed()
                    else:
                        kind = next((item for item in ("lost", "double") if why.startswith(f"{item}:")), kind)
                        tally.failed(f"{name}: {why}", kind)
                yield tally
