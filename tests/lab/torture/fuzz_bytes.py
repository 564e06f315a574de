"""Raw bytes: lines on the stdin of a stdio server, and whatever a socket takes on the port of an HTTP server."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.lab.torture.accounts import account
from tests.lab.torture.processes import META, Gone, Http, Server, Stdio, api, received, sandbox
from tests.lab.torture.search import search
from tests.lab.torture.tally import Tally
from tests.lab.torture.values import ANYTHING, NEST, TEXTS
from tests.support.handshake import INITIALIZE

CALL: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 7,
    "method": "tools/call",
    "params": {"name": "generate_image", "arguments": {"prompt": "a cat"}},
}
LIST: dict[str, Any] = {"jsonrpc": "2.0", "id": 8, "method": "tools/list", "params": {}}
NEW_CALL = {**CALL, "params": {**CALL["params"], "_meta": META}}
WHOLE = [
    json.dumps(item).encode() for item in (CALL, NEW_CALL, LIST, INITIALIZE, {"jsonrpc": "2.0", "id": 9, "result": {}})
]

HUGE = [
    b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"' + b"x" * 3_000_000 + b'"}}',
    b"y" * 2_000_000,
    b"[" * NEST,
    b"[" * NEST + b"]" * NEST,
    b'{"a":' * NEST + b"1" + b"}" * NEST,
    b'{"jsonrpc":"2.0","id":5,"method":"ping","params":' + b'{"a":' * NEST + b"1" + b"}" * (NEST + 1),
    b'{"jsonrpc":"2.0","id":' + b"9" * 5_000 + b',"method":"ping"}',
    b'{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"get_task","arguments":{"task_id":'
    + b"9" * 5_000
    + b"}}}",
    b'{"jsonrpc":"2.0","id":4,"method":"ping","params":{"x":1e400,"y":NaN,"z":-Infinity}}',
    b"\x00" * 10_000,
    b"\xff\xfe" + '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16-le"),
    b"\xef\xbb\xbf" + WHOLE[1],
    b"[" + b",".join(WHOLE) + b"]",
    b"[]",
    b"\xed\xa0\x80\xc0\x80\xf5\x80\x80\x80",
]


@st.composite
def _cut(draw: st.DrawFn) -> bytes:
    """A whole message without its end, or with a byte that was not in it."""
    whole = draw(st.sampled_from(WHOLE))
    place = draw(st.integers(0, len(whole) - 1))
    if draw(st.booleans()):
        return whole[:place]
    return whole[:place] + draw(st.binary(min_size=1, max_size=3)) + whole[place + draw(st.integers(0, 2)) :]


def _message() -> SearchStrategy[dict[str, Any]]:
    parts: dict[str, SearchStrategy[Any]] = {
        "jsonrpc": st.one_of(st.just("2.0"), st.just("2.0"), ANYTHING),
        "id": st.one_of(st.integers(10, 20), st.text(max_size=5), ANYTHING),
        "method": st.one_of(
            st.sampled_from(
                [
                    "ping",
                    "tools/list",
                    "notifications/cancelled",
                    "notifications/initialized",
                    "notifications/progress",
                    "notifications/roots/list_changed",
                ]
            ),
            ANYTHING,
        ),
        "params": st.one_of(
            st.builds(lambda number: {"requestId": number, "reason": "x"}, st.integers(0, 20)),
            st.builds(
                lambda token: {"_meta": {"progressToken": token}, "progressToken": token, "progress": token}, ANYTHING
            ),
            ANYTHING,
        ),
        "result": ANYTHING,
        "error": st.one_of(st.just({"code": 1, "message": "x"}), ANYTHING),
    }
    return st.fixed_dictionaries({}, optional=parts)


LINES: SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=60),
    _cut(),
    _cut(),
    st.sampled_from(WHOLE),
    _message().map(lambda message: json.dumps(message).encode()),
    _message().map(lambda message: json.dumps(message).encode()),
    st.lists(_message(), max_size=3).map(lambda batch: json.dumps(batch).encode()),
    TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(HUGE),
).map(lambda line: line.replace(b"\n", b" "))


class _Talker:
    """Sends lines to a stdio server, and after each list of them asks whether it still listens."""

    def __init__(self, start: Callable[[], Stdio]) -> None:
        self._start = start
        self._server: Stdio | None = None

    def __call__(self, batch: list[bytes]) -> str | None:
        server = self._server = self._server or self._start()
        why = None
        try:
            server.send(batch)
            answer = server.call("ping", {})
            why = None if "result" in answer else f"a ping is answered by {answer}"
            why = why or server.unforeseen
        except Gone as error:
            why = server.describe(error)
        if why is not None:
            server.__exit__()
            self._server = None
        return why

    def finish(self, last: bytes) -> str | None:
        """Ends it within a line. Returns what was wrong about its end."""
        server, self._server = self._server or self._start(), None
        with server:
            try:
                code = server.finish(last)
            except Gone as error:
                return str(error)
            return (None if code == 0 else f"it ended with {code} after {last!r}") or server.unforeseen


def fuzz_stdin(folder: Path, count: int, seed: int) -> Tally:
    """Lines that are no requests, within a session and before one, and ends within a line."""
    tally = Tally("fuzz: bytes on stdin")
    with sandbox(seconds=0) as served:
        environment = api(served.url)
        lives = max(2, min(40, count // 1_000))
        for number in range(lives):
            # Every fourth life begins without a handshake.
            shaken = number % 4 != 3

            def start(shaken: bool = shaken) -> Stdio:
                return Stdio(folder=folder, handshake=shaken, **environment)

            talker = _Talker(start)
            search(tally, st.just(WHOLE[0]), 1, seed, talker)  # a call that is right: something is charged
            search(tally, LINES, count // lives, seed + 1_000 * number, talker)
            last = [b"", WHOLE[0][:40], b"[" * 100, b"\xff", b'{"jsonrpc'][number % 5]
            why = talker.finish(last)
            if why is None:
                tally.passed()
            else:
                tally.failed(f"the end of stdin: {why}")
        account(tally, served, folder)
    return tally


_PATHS = [
    b"/mcp",
    b"/mcp",
    b"/healthz",
    b"/readyz",
    b"/metrics",
    b"/webhooks/in-1/abc",
    b"/",
    b"*",
    b"http://evil.example/mcp",
    b"/mcp?x=%00",
    b"/%2e%2e/mcp",
    b"//mcp",
    b"/.well-known/oauth-protected-resource",
    b"/\xff",
    b"/" + b"a" * 9_000,
]
_HEADERS = [
    b"Host: {host}",
    b"Host: evil.example",
    b"Host: {host}\r\nHost: {host}",
    b"Host:",
    b"Origin: null",
    b"Accept: application/json, text/event-stream",
    b"Accept: */*;q=x, \xff",
    b"Content-Type: application/json",
    b"Content-Type: application/json; charset=utf-16",
    b"Content-Type: text/plain",
    b"Content-Type: multipart/form-data; boundary=x",
    b"Content-Encoding: gzip",
    b"Content-Length: {length}",
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: 99999999999999999999999",
    b"Content-Length: -1",
    b"Content-Length: 3\r\nContent-Length: 4",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked\r\nContent-Length: 3",
    b"Expect: 100-continue",
    b"Expect: 200-ok",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    + b"A" * 22
    + b"==",
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    b"Connection: close",
    b"Connection: keep-alive, close, x",
    b"MCP-Protocol-Version: 2026-07-28",
    b"MCP-Protocol-Version: 2025-11-25",
    b"MCP-Protocol-Version: \xe2\x98\x83",
    b"Mcp-Session-Id: nobody",
    b"Mcp-Session-Id: " + b"x" * 5_000,
    b"Mcp-Method: tools/call\r\nMcp-Name: generate_image",
    b"Last-Event-ID: 0",
    b"Authorization: Bearer \x80\x81",
    b"Authorization: Basic " + b"A" * 3_000,
    b"X-Request-Id: " + b"y" * 300,
    b"X-Request-Id: \x01\x02",
    b"X-Forwarded-For: 1.2.3.4, evil\r\nX-Forwarded-Proto: https",
    b"Cookie: " + b"a=b; " * 500,
    b" folded: yes",
    b"No colon here",
    b"Name : space",
    b": nameless",
    b"X-Big: " + b"z" * 70_000,
    b"Range: bytes=0-1,5-,-9",
    b"If-None-Match: *",
]
_USUAL = [
    b"Host: {host}",
    b"Content-Type: application/json",
    b"Accept: application/json, text/event-stream",
    b"Content-Length: {length}",
]
_NEW = [b"MCP-Protocol-Version: 2026-07-28", b"Mcp-Method: tools/call", b"Mcp-Name: generate_image"]
_CHUNKED = [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"zz\r\n",
    b"ffffffffffffffff\r\n",
    b'5;ext="\r\nhello\r\n0\r\n\r\n',
    b"0\r\nTrailer: x\r\n\r\n",
    b"1\r\nab\r\n",
    b"-1\r\n",
]
_OTHER = [
    b"",
    b"\r\n" * 50,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"SSH-2.0-x\r\n",
    b"GET /healthz\r\n\r\n",
    b"GET /healthz HTTP/0.9\r\n\r\n",
    b"GET /healthz HTTP/9.9\r\n\r\n",
    b"GET  /healthz  HTTP/1.1\r\n\r\n",
    b"\x00" * 3_000,
    b"A" * 100_000,
]


@st.composite
def _request(draw: st.DrawFn) -> bytes:
    method = draw(
        st.sampled_from(
            [
                b"POST",
                b"POST",
                b"POST",
                b"GET",
                b"DELETE",
                b"HEAD",
                b"OPTIONS",
                b"PUT",
                b"CONNECT",
                b"TRACE",
                b"post",
                b"\xff\xfe",
                b"A" * 200,
            ]
        )
    )
    body = draw(
        st.one_of(
            st.sampled_from(
                [*WHOLE, *_CHUNKED, HUGE[2], HUGE[6], HUGE[7], HUGE[10], HUGE[11], HUGE[12], WHOLE[1], WHOLE[1], b""]
            ),
            _cut(),
            _message().map(lambda message: json.dumps(message).encode()),
            st.binary(max_size=60),
        )
    )
    usual = [*_USUAL, *(_NEW if draw(st.booleans()) else [])]
    headers = [*(usual if draw(st.integers(0, 3)) else []), *draw(st.lists(st.sampled_from(_HEADERS), max_size=4))]
    head = b"\r\n".join([method + b" " + draw(st.sampled_from(_PATHS)) + b" HTTP/1.1", *headers, b"", b""])
    return head.replace(b"{length}", str(len(body)).encode()) + body


@st.composite
def _nearly(draw: st.DrawFn) -> bytes:
    """A call that is right but for some headers more."""
    odd = draw(st.lists(st.sampled_from(_HEADERS), max_size=2))
    head = b"\r\n".join([b"POST /mcp HTTP/1.1", *_USUAL, *_NEW, *odd, b"", b""])
    return head.replace(b"{length}", str(len(WHOLE[1])).encode()) + WHOLE[1]


REQUESTS: SearchStrategy[bytes] = st.one_of(
    _nearly(),
    _request(),
    _request(),
    _request(),
    st.lists(_request(), min_size=2, max_size=4).map(b"".join),
    st.builds(lambda whole, place: whole[: place % max(1, len(whole))], _request(), st.integers(0, 500)),
    st.sampled_from(_OTHER),
    st.binary(max_size=100),
)

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
SILENCE_SECONDS = 20.0


class _Caller:
    """Sends bytes on connections of their own, says that no more come, and reads all that comes back."""

    def __init__(self, start: Callable[[], Http]) -> None:
        self._start = start
        self.server: Http | None = None

    def __call__(self, batch: list[bytes]) -> str | None:
        server = self.server = self.server or self._start()
        why = None
        try:
            for sent in batch:
                why = why or self._one(server, sent.replace(b"{host}", server.host.encode()))
            if why is None and not server.healthy():
                why = "it is not healthy any more"
            why = why or server.unforeseen
        except Gone as error:
            why = server.describe(error)
        if why is not None:
            self.close()
        return why

    @staticmethod
    def _one(server: Server, sent: bytes) -> str | None:
        assert isinstance(server, Http)
        with server.socket(SILENCE_SECONDS) as sock:
            try:
                sock.sendall(sent)
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it may refuse before it has read all
            got = received(sock)
        worst = [status for status in _STATUS.findall(got) if status >= b"500" and status != b"501"]
        return f"it answers {got[:600]!r}" if worst else None

    def close(self) -> None:
        """End the server."""
        if self.server is not None:
            self.server.__exit__()
            self.server = None


def fuzz_port(folder: Path, count: int, seed: int) -> Tally:
    """Requests that are none."""
    tally = Tally("fuzz: bytes on the HTTP port")
    with sandbox(seconds=0) as served:
        environment = api(served.url, NANO_BANANA_PUBLIC_URL="http://127.0.0.1:9")
        caller = _Caller(lambda: Http(folder=folder, **environment))
        search(tally, REQUESTS, count, seed, caller)
        caller.close()
        account(tally, served, folder)
    return tally
