"""An HTTP server that misbehaves to order, on a raw socket.

    async with fault_server([reply(503, {"code": 1}), reset_after_reading()]) as server:
        ...  # talk to server.url
    assert [request.method for request in server.requests] == ["POST", "POST"]

A list of steps is used up request after request (a new connection takes its step as soon as it is
accepted); a single step serves every request. The steps are in :mod:`tests.support.faults`. The server runs
on asyncio and on trio, and ends at once when the block ends.

Plain sockets below anyio's readiness calls, because anyio's streams half-close before they close: with them
a reset would reach the other side as an orderly end.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.abc

Body = bytes | str | Mapping[str, Any] | Sequence[Any] | None
Step = Callable[["Connection"], Awaitable[None]]


@dataclass
class Request:
    """What of one request reached the server.

    Attributes:
        connection: Number of the connection that it came in on, from 0.
        whole: Whether the body is as long as its ``Content-Length`` says.
        raw: Every byte of it.
    """

    connection: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    whole: bool
    raw: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def params(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One accepted connection, as the steps see it."""

    def __init__(self, sock: socket.socket, number: int, server: FaultServer) -> None:
        self.number = number
        self._sock = sock
        self._server = server
        self._ahead = b""

    @property
    def open(self) -> bool:
        return self._sock.fileno() >= 0

    async def readable(self) -> bool:
        """Wait for the first byte without taking it; False where the other side is done."""
        if self._ahead:
            return True
        await anyio.wait_readable(self._sock)
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    async def peek(self) -> bytes:
        """What of a request has arrived, as far as it can be seen without taking it."""
        if not await self.readable():
            return self._ahead
        try:
            return self._ahead or self._sock.recv(65536, socket.MSG_PEEK)
        except OSError:
            return b""

    async def read(self) -> Request | None:
        """Read one request, as far as it arrives, and record it."""
        raw = self._ahead
        while b"\r\n\r\n" not in raw:
            more = await self._receive()
            if not more:
                break
            raw += more
        head, _, rest = raw.partition(b"\r\n\r\n")
        if not raw:
            return None
        lines = head.decode("latin-1").split("\r\n")
        method, target, *_ = [*lines[0].split(" "), "", ""]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        while len(rest) < length:
            more = await self._receive()
            if not more:
                break
            rest += more
        body, self._ahead = rest[:length], rest[length:]
        whole = b"\r\n\r\n" in raw and len(body) == length
        request = Request(self.number, method, target, headers, body, whole, head + b"\r\n\r\n" + body)
        self._server.record(request)
        return request

    async def write(self, data: bytes) -> bool:
        """Send; False where the other side has gone."""
        view = memoryview(data)
        while view:
            await anyio.wait_writable(self._sock)
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                continue
            except OSError:
                return False
        return True

    async def take(self, most: int) -> bytes:
        """Up to that number of bytes of a request, which is not recorded."""
        await self.readable()
        try:
            return self._sock.recv(most)
        except OSError:
            return b""

    def send_no_more(self) -> None:
        """Half-close: the other side reads an end, and can still send."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    async def other_side_ends(self) -> None:
        """Wait until the other side closes or resets."""
        while await self._receive():
            pass

    def close(self) -> None:
        """End in order (the kernel makes a reset of it where bytes are unread)."""
        self._sock.close()

    def reset(self) -> None:
        """End with an RST, at once."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    async def _receive(self) -> bytes:
        while True:
            await anyio.wait_readable(self._sock)
            try:
                return self._sock.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                return b""


@dataclass
class FaultServer:
    """A running server.

    Attributes:
        requests: Every request of which a byte was read, in the order they were read.
        connections: How many connections were accepted.
    """

    url: str
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    _news: anyio.Event = field(default_factory=anyio.Event)

    @property
    def posts(self) -> int:
        return sum(request.method == "POST" for request in self.requests)

    async def arrived(self, count: int = 1) -> None:
        """Wait until ``count`` requests have been read."""
        while len(self.requests) < count:
            await self._news.wait()

    def record(self, request: Request) -> None:
        self.requests.append(request)
        self._news.set()
        self._news = anyio.Event()


@asynccontextmanager
async def fault_server(script: Step | Sequence[Step], *, port: int = 0) -> AsyncIterator[FaultServer]:
    """Serve ``script`` on the loopback within the block."""
    steps = iter(script) if isinstance(script, Sequence) else _forever(script)
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.setblocking(False)
        server = FaultServer(f"http://127.0.0.1:{listener.getsockname()[1]}")
        async with anyio.create_task_group() as group:
            group.start_soon(_accept, listener, server, steps, group)
            try:
                yield server
            finally:
                group.cancel_scope.cancel()


def unused_port() -> int:
    """A closed port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _forever(step: Step) -> Iterator[Step]:
    while True:
        yield step


async def _accept(
    listener: socket.socket, server: FaultServer, steps: Iterator[Step], group: anyio.abc.TaskGroup
) -> None:
    while True:
        await anyio.wait_readable(listener)
        sock, _ = listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(sock, server.connections, server)
        server.connections += 1
        group.start_soon(_serve, connection, steps)


async def _serve(connection: Connection, steps: Iterator[Step]) -> None:
    try:
        while True:
            step = next(steps, unscripted)
            await step(connection)
            if not connection.open or not await connection.readable():
                return
    finally:
        connection.close()


async def unscripted(connection: Connection) -> None:
    """More than the script foresees: recorded, so that the test's count fails, and dropped."""
    await connection.read()
    connection.close()
