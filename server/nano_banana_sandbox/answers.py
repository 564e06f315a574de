"""The JSON bodies exactly as in the API's guide, and faulty answers as Starlette responses."""

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

from nano_banana_sandbox.faults import Directives
from nano_banana_sandbox.tasks import Drawings, Task, suffix

Body = dict[str, Any]

_HUGE_BYTES = 64_000_000
"""Size of a `huge` file."""

NOT_FOUND: Body = {"code": 1, "message": "task not found"}
NO_CONTENT = "The model returned empty content. The request is billed all the same."
NO_IMAGE = "The picture could not be generated."
SPOKEN = "I would rather describe it: a picture worth a thousand words, in words."
SPOKEN_TOO = "Here is your picture."

_DETAILS = {
    400: "bad request",
    402: "insufficient credits",
    403: "forbidden",
    429: "rate limit exceeded",
    500: "internal server error",
    503: "service unavailable",
}


def ok(data: Body) -> Body:
    return {"code": 0, "message": "ok", "data": data}


def unwrapped(body: Body) -> Body:
    """The same answer without its `data` wrapper."""
    return {"code": body["code"], "message": body["message"], **body["data"]}


def failed(detail: str) -> Body:
    return {"code": 1, "message": "failed", "detail": detail}


def refusal(status: int, *, query: bool = False) -> Body:
    """The body that goes with an HTTP error status."""
    if status == 401:
        return {"code": 401 if query else 1, "message": "Invalid API key"}
    if status == 404:
        return NOT_FOUND
    return failed(_DETAILS[status])


def image_url(task: Task, number: int) -> str:
    return f"{task.origin}/files/{task.id}-{number}.{suffix(task)}"


async def result(task: Task, images: Drawings) -> Any:
    """The result of the finished task."""
    kind = task.directives.result
    fixed: dict[str, Any] = {"failed": None, "null": None, "empty": [], "text": [{"text": SPOKEN}]}
    if kind in fixed:
        return fixed[kind]
    if kind.endswith("data-uri"):
        return [{"image": await images.data_uri(task, 0)}]
    urls = [image_url(task, number) for number in range(task.image_count)]
    items = [{"image": url} for url in urls]
    shaped = {"string-items": urls, "object": items[0], "mixed": [{"text": SPOKEN_TOO}, *items]}
    return shaped.get(kind, items)


async def ending(task: Task, images: Drawings) -> Body:
    """The finished task in the flat form of a callback, also if it has not finished yet."""
    return {
        "result": await result(task, images),
        "status": task.outcome,
        "task_id": task.id,
        "consumed": _consumed(task),
        "status_reason": {"message": _reason(task)},
    }


async def state(task: Task, images: Drawings) -> Body:
    """The task as a query answers it now."""
    if task.finished:
        return {**await ending(task, images), "created_at": task.created_at}
    return {
        "task_id": task.id,
        "status": task.status,
        "result": None,
        "status_reason": {"message": None},
        "consumed": None,
        "created_at": task.created_at,
    }


def _consumed(task: Task) -> str | float | None:
    amount = 0.0 if task.outcome == "failed" else 0.5
    shapes: dict[str, str | float | None] = {"string": f"{amount:.6f}", "number": amount, "null": None}
    return shapes[task.directives.consumed]


def _reason(task: Task) -> str | None:
    usual = {"failed": NO_IMAGE, "empty": NO_CONTENT}
    return task.directives.reason or usual.get(task.directives.result)


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
    """Return when the client disconnects or the server closes."""
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
        # SO_LINGER of zero seconds: the kernel drops unsent data and sends RST instead of FIN.
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
    """An image of 64 MB without a Content-Length."""

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


def answer(kind: str, body: Body, directives: Directives, *, drip_interval: float, query: bool = False) -> Response:
    """The faulty answer instead of the right body."""
    if kind in _SIMPLE:
        return _SIMPLE[kind](body)
    if kind == "drip":
        return Drip(_text(body), drip_interval)
    status = int(kind)
    if status in (502, 504):
        return gateway_page(status)
    wait = directives.retry_after if status in (429, 503) else None
    headers = None if wait is None else {"Retry-After": str(wait)}
    return json_answer(refusal(status, query=query), status, headers)


def _text(body: Body) -> bytes:
    return json.dumps(body).encode()


def _truncated(body: Body) -> Response:
    text = _text(body)
    return Response(text[: len(text) // 2], media_type="application/json")


_SIMPLE: dict[str, Callable[[Body], Response]] = {
    "code": lambda body: json_answer(failed("the sandbox fails on request")),
    "html": lambda body: html_page(),
    "truncated": _truncated,
    "short": lambda body: Short(_text(body), media_type="application/json"),
    "empty": lambda body: Response(media_type="application/json"),
    "garbage": lambda body: json_answer(["ok", 42, None]),
    "flat": lambda body: json_answer(unwrapped(body)),
    "reset-before": lambda body: Reset(),
    "reset-after": lambda body: Reset(),
    "hang": lambda body: Hang(),
}
