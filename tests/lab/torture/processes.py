"""The server as a child process with raw lines or a raw socket; its stderr is recorded."""

from __future__ import annotations

import contextlib
import json
import queue
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

from anyio.from_thread import start_blocking_portal
from mcp.types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

from nano_banana_sandbox.sandbox import Sandbox
from nano_banana_tools.tasks.extension import TASKS
from tests.support.clients import KEY, child
from tests.support.handshake import INITIALIZE, INITIALIZED
from tests.support.sandbox import plain_sandbox

PATIENCE_SECONDS = 60.0
"""How long an answer may take before the server counts as hung: the machine may be busy."""

START_SECONDS = 300.0
"""How long a server may take to start, where several start on a busy machine."""

NEW = "2026-07-28"


def meta(**capabilities: Any) -> dict[str, Any]:
    """The ``_meta`` of a request of the newer era, from a client with these capabilities."""
    return {
        PROTOCOL_VERSION_META_KEY: NEW,
        CLIENT_INFO_META_KEY: {"name": "torture", "version": "1"},
        CLIENT_CAPABILITIES_META_KEY: capabilities,
    }


META = meta()
WITH_TASKS = meta(extensions={TASKS: {}})
WITH_FORMS = meta(elicitation={"form": {}})

_UNFORESEEN = re.compile(rb"Traceback \(most recent call last\)|Task exception was never retrieved|never awaited")


class Gone(Exception):
    """The process has ended, or does not answer any more."""


class Server:
    """A server process.

    Attributes:
        folder: Its state.
    """

    def __init__(self, *arguments: str, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        parameters = child(*arguments, NANO_BANANA_STATE_DIR=folder, **settings)
        self.process = subprocess.Popen(
            [parameters.command, *parameters.args],
            env=parameters.env,
            stdin=self._stdin(),
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def _stdin(self) -> int:
        return subprocess.DEVNULL

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not sent to it any more
                    pipe.close()
        self._errors.close()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    @property
    def output(self) -> bytes:
        """All that it has written to stderr."""
        self._errors.seek(0)
        return self._errors.read()

    def describe(self, error: Gone) -> str:
        """An error of this server with the end of what it has written to stderr."""
        return f"{error}; {self.output[-3_000:].decode('utf-8', 'replace')}"

    @property
    def unforeseen(self) -> str | None:
        """Unexpected errors that it logged on stderr."""
        output = self.output
        match = _UNFORESEEN.search(output)
        return (
            None
            if match is None
            else output[max(0, match.start() - 500) : match.start() + 6_000].decode("utf-8", "replace")
        )


class Stdio(Server):
    """A server on pipes, after its handshake by default.

    Args:
        forms: Whether the handshake declares that a person can be asked (elicitation).
    """

    def __init__(
        self, *arguments: str, folder: Path, handshake: bool = True, forms: bool = False, **settings: Any
    ) -> None:
        super().__init__(*arguments, folder=folder, **settings)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._to: IO[bytes] = self.process.stdin
        self._numbers = iter(range(1_000_000, 1_000_000_000))
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=[self.process.stdout], daemon=True).start()
        if handshake:
            params = {**INITIALIZE["params"], "capabilities": {"elicitation": {}} if forms else {}}
            self.send([{**INITIALIZE, "params": params}])
            self.answers([1])
            self.send([INITIALIZED])

    def _stdin(self) -> int:
        return subprocess.PIPE

    def _read(self, stdout: IO[bytes]) -> None:
        for line in stdout:
            self._lines.put(line)
        self._lines.put(None)

    def number(self) -> int:
        """A request id that was not used before."""
        return next(self._numbers)

    def send(self, messages: Iterable[bytes | dict[str, Any]]) -> None:
        """Send lines."""
        lines = [message if isinstance(message, bytes) else json.dumps(message).encode() for message in messages]
        try:
            self._to.write(b"".join(line + b"\n" for line in lines))
            self._to.flush()
        except OSError as error:
            raise Gone(f"it has ended with {self.process.wait(5)}: {error}") from error

    def answers(
        self, numbers: Iterable[int], others: Callable[[dict[str, Any]], None] = lambda _: None
    ) -> dict[int, Any]:
        """The answers to these requests; whatever else comes is handed to ``others``.

        Raises:
            Gone: it ends, or says what is not the protocol, or does not answer.
        """
        missing, got = set(numbers), {}
        until = time.monotonic() + PATIENCE_SECONDS
        while missing:
            try:
                line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise Gone(f"no answer within {PATIENCE_SECONDS:g} s to {len(missing)} requests") from None
            if line is None:
                raise Gone(f"it has ended with {self.process.wait(5)}")
            try:
                message = json.loads(line.decode())
            except ValueError:
                raise Gone(f"its stdout is not the protocol: {line[:300]!r}") from None
            if message.get("jsonrpc") != "2.0":
                raise Gone(f"its stdout is not the protocol: {line[:300]!r}")
            number = message.get("id")
            if "method" not in message and isinstance(number, int) and number in missing:
                missing.discard(number)
                got[number] = message
            else:
                others(message)
        return got

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """One request and its answer."""
        number = self.number()
        self.send([{"jsonrpc": "2.0", "id": number, "method": method, "params": params}])
        answer: dict[str, Any] = self.answers([number])[number]
        return answer

    def tool(self, name: str, **arguments: Any) -> dict[str, Any]:
        """What a tool answers."""
        answer = self.call("tools/call", {"name": name, "arguments": arguments})
        if "result" not in answer:
            raise Gone(f"{name} answers {answer}")
        result: dict[str, Any] = answer["result"]
        return result

    def finish(self, last: bytes = b"") -> int:
        """Send ``last``, close stdin, and return the exit code."""
        try:
            self._to.write(last)
            self._to.close()
        except OSError:
            pass  # it has gone already: its exit code says how
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise Gone("it does not end at the end of stdin") from None


class Http(Server):
    """A server on a port of this machine.

    Attributes:
        root: Its address, without a path.
    """

    def __init__(self, *arguments: str, folder: Path, port: int = 0, **settings: Any) -> None:
        super().__init__("serve", "--http", "--port", str(port), *arguments, folder=folder, **settings)
        until = time.monotonic() + START_SECONDS
        while (match := re.search(rb"(http://\S+)/mcp", self.output)) is None:
            if not self.alive or time.monotonic() > until:
                output = self.output
                self.__exit__()
                raise Gone(f"it did not start: {output!r}")
            time.sleep(0.02)
        self.root = match[1].decode()
        self.port = int(self.root.rpartition(":")[2])
        self.host = f"127.0.0.1:{self.port}"

    def socket(self, timeout: float = PATIENCE_SECONDS) -> socket.socket:
        """A connection."""
        try:
            return socket.create_connection(("127.0.0.1", self.port), timeout)
        except OSError as error:
            raise Gone(f"no connection: {error}; exit code {self.process.poll()}") from error

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
        """A whole request as bytes."""
        usual = {"Host": self.host, "Content-Length": str(len(body)), "Connection": "close"}
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in {**usual, **headers}.items()]
        return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode() + body

    def ask(self, sent: bytes, timeout: float = PATIENCE_SECONDS) -> bytes:
        """All that comes back until the server closes.

        Raises:
            Gone: it takes no connection, or goes silent.
        """
        with self.socket(timeout) as sock:
            with contextlib.suppress(OSError):  # it may refuse before it has read all
                sock.sendall(sent)
            return received(sock)

    def tool(self, name: str, **arguments: Any) -> dict[str, Any]:
        """What a tool answers to a client of the newer era."""
        return self.result("tools/call", name=name, arguments=arguments)

    def result(self, method: str, **params: Any) -> dict[str, Any]:
        """What a method answers to a client of the newer era; without capabilities, unless ``_meta`` has some."""
        answer = self.ask(self.message(method, {"_meta": META, **params}))
        match = re.findall(rb'\{"jsonrpc".*\}', answer)
        if not match or "result" not in (message := json.loads(match[-1])):
            raise Gone(f"{method} answers {answer[:500]!r}; {self.output[-2_000:]!r}")
        result: dict[str, Any] = message["result"]
        return result

    def call(self, name: str, arguments: dict[str, Any]) -> bytes:
        """A whole request that calls a tool."""
        return self.message("tools/call", {"name": name, "arguments": arguments, "_meta": META})

    def message(self, method: str, params: dict[str, Any]) -> bytes:
        """A whole request of the newer era."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        return self.request(
            "POST",
            "/mcp",
            body,
            Content_Type="application/json",
            Accept="application/json, text/event-stream",
            MCP_Protocol_Version=NEW,
            Mcp_Method=method,
            Mcp_Name=next(params[key] for key in ("name", "uri", "taskId") if key in params),
        )

    def healthy(self) -> bool:
        """Whether it says that it is well."""
        return b'"status":"ok"' in self.ask(self.request("GET", "/healthz"))


def received(sock: socket.socket) -> bytes:
    """All until the other side closes or resets.

    Raises:
        Gone: it does neither within the socket's timeout.
    """
    got = bytearray()
    try:
        while more := sock.recv(65_536):
            got += more
    except TimeoutError:
        raise Gone(f"neither more nor an end within {sock.gettimeout():g} s after {bytes(got[-300:])!r}") from None
    except OSError:
        pass  # a reset
    return bytes(got)


@contextmanager
def sandbox(**config: Any) -> Iterator[Sandbox]:
    """The stand-in API, in a thread, with credits for any number of pictures."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(plain_sandbox(credit=1e9, **config)) as served,
    ):
        yield served


def api(url: str, **settings: Any) -> dict[str, Any]:
    """Settings of a server that talks to the API at ``url``."""
    return {"DEFAPI_BASE_URL": url, "DEFAPI_API_KEY": KEY, "NANO_BANANA_QUERIES_PER_SECOND": "10000", **settings}


def text_of(result: dict[str, Any]) -> str:
    """The text of a tool's result."""
    return "\n".join(item["text"] for item in result.get("content", []) if item["type"] == "text")
