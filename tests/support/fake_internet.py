"""A small internet on 127.0.0.1: names, an image host, and a trap for forbidden connections."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from nano_banana_mcp.images.download.fetcher import ImageFetcher
from tests.support.connections import serving_connections

NewFetcher = Callable[..., ImageFetcher]
"""A fetcher of this internet, with options of :class:`ImageFetcher`."""

PUBLIC = "93.184.215.14"

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(body: bytes = b"", *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(to: str, status: str = "302 Found") -> bytes:
    return answer(b"", f"Location: {to}", status=status)


@dataclass
class Request:
    line: str
    headers: dict[str, str]


@dataclass
class Host:
    """Answers each path as configured, and records the requests."""

    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        pairs = (header.split(": ", 1) for header in rest)
        self.requests.append(Request(line, {name.lower(): value for name, value in pairs}))
        reply = self.answers.get(line.split()[1], answer(status="404 Not Found"))
        if isinstance(reply, bytes):
            writer.write(reply)
            await writer.drain()
        else:
            await reply(writer)

    def paths(self) -> list[str]:
        return [request.line.split()[1] for request in self.requests]


@asynccontextmanager
async def listening(host: Host, context: ssl.SSLContext | None) -> AsyncIterator[Host]:
    if context is not None:
        context.sni_callback = lambda _socket, name, _context: host.server_names.append(name)
    async with serving_connections(host.serve, context) as host.port:
        yield host


@dataclass
class Internet:
    """Names and their addresses, and where every connection ends up, but those to ports that stay.

    A list of lists is answered one by one.
    """

    lands_at: tuple[str, int]
    stays: set[int] = field(default_factory=set)
    names: dict[str, list[list[str]]] = field(default_factory=dict)
    resolved: list[str] = field(default_factory=list)
    connections: list[tuple[str, int]] = field(default_factory=list)

    async def resolve(self, host: str, port: int) -> list[str]:
        self.resolved.append(host)
        rounds = self.names.get(host, [[PUBLIC]])
        return rounds[min(self.resolved.count(host), len(rounds)) - 1]

    def connect_to(self, ip: str, port: int) -> tuple[str, int]:
        self.connections.append((ip, port))
        return (ip, port) if port in self.stays else self.lands_at


class Trap:
    """A socket that really listens, and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]

    async def reached(self) -> None:
        """Wait until a connection arrives."""
        await anyio.wait_readable(self._socket)

    def was_reached(self) -> bool:
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return False
        connection.close()
        return True

    def was_left(self) -> bool:
        """Whether the peer of the first connection has closed it, within a minute."""
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(60)
            try:
                while connection.recv(65536):
                    pass
            except TimeoutError:
                return False
        return True

    def close(self) -> None:
        self._socket.close()
