"""Answers that go wrong, as Starlette responses: an ASGI callable each."""

import json
import socket
import struct
import sys
from asyncio import Transport
from collections.abc import Callable
from typing import Any

import anyio
from starlette.responses import HTMLResponse, Response
from starlette.types import Message, Receive, Scope, Send

from nano_banana_mcp.sandbox import answers
from nano_banana_mcp.sandbox.faults import Directives

_HUGE_BYTES = 64_000_000


def json_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    # Pure ASCII, so that a prompt with lone surrogates cannot break an answer.
    return Response(json.dumps(body), status, headers, media_type="application/json")


def gateway_page(status: int) -> Response:
    title = {502: "502 Bad Gateway", 504: "504 Gateway Time-out"}[status]
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
    return HTMLResponse(page + "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n", status)


def html_page() -> Response:
    return HTMLResponse("<!DOCTYPE html><html><head><title>Just a moment...</title></head><body></body></html>")


async def gone(receive: Receive) -> None:
    """Return when the client has gone, or the server closes."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _transport(scope: Scope) -> Transport:
    transport = scope["state"]["transport"]
    assert isinstance(transport, Transport)
    return transport


class Hang(Response):
    """Never answers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await gone(receive)


class Reset(Response):
    """Closes the connection with a TCP RST: the client sees "connection reset by peer"."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = _transport(scope)
        # Linger on, for zero seconds: the kernel drops what is unsent and resets instead of saying goodbye.
        linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
        await gone(receive)


class Short(Response):
    """Promises the whole body in Content-Length, sends half of it and closes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(_start(self))
        await send(_chunk(bytes(self.body)[: len(self.body) // 2]))
        _transport(scope).close()
        await gone(receive)


class Drip(Response):
    """The right answer, byte by byte."""

    def __init__(self, content: bytes, interval: float) -> None:
        super().__init__(content, media_type="application/json")
        self._interval = interval

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(_start(self))
        for byte in bytes(self.body):
            with anyio.move_on_after(self._interval):
                await gone(receive)
                return
            await send(_chunk(bytes([byte])))
        await send({"type": "http.response.body"})


class Huge(Response):
    """A picture that does not end before 64 MB, and does not say so beforehand."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({**_start(self), "headers": [(b"content-type", b"image/png")]})
        await send(_chunk(b"\x89PNG\r\n\x1a\n"))
        block = bytes(64_000)
        for _ in range(_HUGE_BYTES // len(block)):
            await send(_chunk(block))
        await send({"type": "http.response.body"})


def _start(response: Response) -> Message:
    return {"type": "http.response.start", "status": 200, "headers": response.raw_headers}


def _chunk(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}


def answer(
    kind: str, body: answers.Body, directives: Directives, *, drip_interval: float, query: bool = False
) -> Response:
    """The answer that a fault makes out of the right body."""
    if kind in _SIMPLE:
        return _SIMPLE[kind](body)
    if kind == "drip":
        return Drip(_text(body), drip_interval)
    status = int(kind)
    if status in (502, 504):
        return gateway_page(status)
    wait = directives.retry_after if status in (429, 503) else None
    headers = None if wait is None else {"Retry-After": str(wait)}
    return json_answer(answers.refusal(status, query=query), status, headers)


def _text(body: answers.Body) -> bytes:
    return json.dumps(body).encode()


def _truncated(body: answers.Body) -> Response:
    text = _text(body)
    return Response(text[: len(text) // 2], media_type="application/json")


_SIMPLE: dict[str, Callable[[answers.Body], Response]] = {
    "code": lambda body: json_answer(answers.failed("the sandbox was told to fail")),
    "html": lambda body: html_page(),
    "truncated": _truncated,
    "short": lambda body: Short(_text(body), media_type="application/json"),
    "empty": lambda body: Response(media_type="application/json"),
    "garbage": lambda body: json_answer(["ok", 42, None]),
    "flat": lambda body: json_answer(answers.unwrapped(body)),
    "reset-before": lambda body: Reset(),
    "reset-after": lambda body: Reset(),
    "hang": lambda body: Hang(),
}
