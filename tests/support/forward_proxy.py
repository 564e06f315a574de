"""A forward proxy on 127.0.0.1: CONNECT over HTTP, or SOCKS5. It resolves names by itself and forwards bytes."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.support.connections import serving_connections


@dataclass
class ForwardProxy:
    """A running proxy.

    Attributes:
        destination: Where every tunnel ends, whatever its name: the address and port of a local server.
        status: The answer to CONNECT.
        credentials: ``user:password`` that a client must send; None if it needs none.
        tunnels: The requested hosts and ports, in order.
    """

    destination: tuple[str, int]
    status: str = "200 Connection established"
    credentials: str | None = None
    tunnels: list[tuple[str, int]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(1)
        accepted = await (self._socks(reader, writer) if first == b"\x05" else self._connect(first, reader, writer))
        if accepted:
            await self._forward(reader, writer)

    async def _connect(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
        method, authority, _ = head.split("\r\n", 1)[0].split()
        assert method == "CONNECT"
        host, _, port = authority.rpartition(":")
        self.tunnels.append((host, int(port)))
        status = self.status
        if self.credentials is not None:
            expected = f"Basic {base64.b64encode(self.credentials.encode()).decode()}"
            if f"proxy-authorization: {expected}".lower() not in head.lower():
                status = "407 Proxy Authentication Required"
        writer.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
        await writer.drain()
        return status.startswith("200")

    async def _socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await reader.readexactly((await reader.readexactly(1))[0])
        writer.write(b"\x05\x00")
        _, _, _, kind = await reader.readexactly(4)
        assert kind == 3, "the client must leave the name to the proxy"
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        self.tunnels.append((host, struct.unpack("!H", await reader.readexactly(2))[0]))
        writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        await writer.drain()
        return True

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        remote_reader, remote_writer = await asyncio.open_connection(*self.destination)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_copy(reader, remote_writer))
                tasks.create_task(_copy(remote_reader, writer))
        finally:
            remote_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def forward_proxy(destination: tuple[str, int], credentials: str | None = None) -> AsyncIterator[ForwardProxy]:
    proxy = ForwardProxy(destination, credentials=credentials)
    async with serving_connections(proxy.serve) as proxy.port:
        yield proxy
