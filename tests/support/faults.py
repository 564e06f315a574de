"""The steps of a :func:`tests.support.fault_server.fault_server` script: one answer or fault for each request."""

from __future__ import annotations

import json
from collections.abc import Mapping

import anyio

from tests.support.fault_server import Body, Connection, Step

Headers = Mapping[str, str]

_ENDLESS_CHUNK = b"x" * 4096


def answer_bytes(status: int, body: Body = b"", headers: Headers | None = None) -> bytes:
    """A whole HTTP answer. Whatever is not text or bytes is sent as JSON; ``headers`` replace the usual ones."""
    content, kind = _content(body)
    usual = {"Content-Type": kind, "Content-Length": str(len(content))}
    lines = [
        f"HTTP/1.1 {status} Scripted",
        *(f"{name}: {value}" for name, value in {**usual, **(headers or {})}.items()),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def reply(status: int, body: Body = b"", headers: Headers | None = None) -> Step:
    """Answer, and keep the connection for the next request."""

    async def step(connection: Connection) -> None:
        if await connection.read():
            await connection.write(answer_bytes(status, body, headers))

    return step


def html(status: int, text: str = "<html><body><h1>Bad gateway</h1></body></html>") -> Step:
    """What a gateway answers."""
    return reply(status, text, {"Content-Type": "text/html"})


def redirect(location: str, status: int = 307) -> Step:
    """Point somewhere else."""
    return reply(status, b"", {"Location": location})


def reply_then_close(status: int, body: Body = b"") -> Step:
    """Answer like a keep-alive server, then close the idle connection without a word."""

    async def step(connection: Connection) -> None:
        if await connection.read():
            await connection.write(answer_bytes(status, body))
            connection.close()

    return step


def held(release: anyio.Event, status: int, body: Body = b"") -> Step:
    """Read the request, and answer it no sooner than ``release`` is set."""

    async def step(connection: Connection) -> None:
        await connection.read()
        await release.wait()
        await connection.write(answer_bytes(status, body))

    return step


def reset_on_accept() -> Step:
    """RST before a byte is looked at."""

    async def step(connection: Connection) -> None:
        connection.reset()

    return step


def close_before_reading() -> Step:
    """Let the request arrive, then close without reading it."""

    async def step(connection: Connection) -> None:
        await connection.readable()
        connection.close()

    return step


def reset_after_reading() -> Step:
    """Read the whole request, then RST."""

    async def step(connection: Connection) -> None:
        await connection.read()
        connection.reset()

    return step


def close_after_reading() -> Step:
    """Read the whole request, then close in order, without an answer."""

    async def step(connection: Connection) -> None:
        await connection.read()
        connection.close()

    return step


def close_after_headers(status: int = 200) -> Step:
    """Answer the headers, promise a body, and close."""

    async def step(connection: Connection) -> None:
        await connection.read()
        await connection.write(answer_bytes(status, b"", {"Content-Length": "64"}))
        connection.close()

    return step


def reset_after_answering(body: Body) -> Step:
    """Answer in whole, then RST, which may overtake what was sent."""

    async def step(connection: Connection) -> None:
        await connection.read()
        await connection.write(answer_bytes(200, body))
        connection.reset()

    return step


def truncated(body: Body, keep: int) -> Step:
    """Promise all of ``body``, send ``keep`` bytes of it, and close."""

    async def step(connection: Connection) -> None:
        await connection.read()
        await connection.write(_part(body, keep))
        connection.close()

    return step


def reset_mid_body(body: Body, keep: int) -> Step:
    """As :func:`truncated`, with an RST, which may overtake what was sent."""

    async def step(connection: Connection) -> None:
        await connection.read()
        await connection.write(_part(body, keep))
        connection.reset()

    return step


def wrong_length(body: Body, by: int) -> Step:
    """Send all of ``body`` under a ``Content-Length`` that is wrong by that number of bytes, and close."""

    async def step(connection: Connection) -> None:
        await connection.read()
        content, _ = _content(body)
        await connection.write(answer_bytes(200, content, {"Content-Length": str(len(content) + by)}))
        connection.close()

    return step


def half_closed(data: bytes = b"") -> Step:
    """Read the request, send these bytes, say that no more will come, and stay until the other side ends."""

    async def step(connection: Connection) -> None:
        await connection.read()
        await connection.write(data)
        connection.send_no_more()
        await connection.other_side_ends()
        connection.close()

    return step


def reset_amid_reading(most: int) -> Step:
    """Read that number of bytes of the request, then RST."""

    async def step(connection: Connection) -> None:
        await connection.take(most)
        connection.reset()

    return step


def never_answer() -> Step:
    """Read the request and say nothing until the other side gives up."""

    async def step(connection: Connection) -> None:
        await connection.read()
        await connection.other_side_ends()
        connection.close()

    return step


def drip(data: bytes, interval: float) -> Step:
    """A body that comes byte by byte, each just in time to look alive, over and over."""

    async def step(connection: Connection) -> None:
        await connection.read()
        going_on = await connection.write(answer_bytes(200, b"", {"Content-Length": "1000000"}))
        while going_on:
            for byte in data:
                await anyio.sleep(interval)
                going_on = going_on and await connection.write(bytes([byte]))
        connection.close()

    return step


def slow_headers(interval: float) -> Step:
    """Headers that never come to an end."""

    async def step(connection: Connection) -> None:
        await connection.read()
        going_on = await connection.write(b"HTTP/1.1 200 OK\r\n")
        while going_on:
            await anyio.sleep(interval)
            going_on = await connection.write(b"X-More: 1\r\n")
        connection.close()

    return step


def endless_body(start: bytes = b"") -> Step:
    """A chunked body without an end."""

    async def step(connection: Connection) -> None:
        await connection.read()
        await connection.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        going_on = await connection.write(_chunk(start)) if start else True
        while going_on:
            going_on = await connection.write(_chunk(_ENDLESS_CHUNK))
        connection.close()

    return step


def raw(data: bytes) -> Step:
    """Read the request, send these very bytes, and close."""

    async def step(connection: Connection) -> None:
        await connection.read()
        await connection.write(data)
        connection.close()

    return step


def raw_at_once(data: bytes) -> Step:
    """Send these bytes at the first byte of the request, and close."""

    async def step(connection: Connection) -> None:
        await connection.readable()
        await connection.write(data)
        connection.close()

    return step


def _part(body: Body, keep: int) -> bytes:
    content, _ = _content(body)
    return answer_bytes(200, content[:keep], {"Content-Length": str(len(content))})


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _content(body: Body) -> tuple[bytes, str]:
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    if isinstance(body, str):
        return body.encode(), "text/plain"
    return json.dumps(body).encode(), "application/json"
