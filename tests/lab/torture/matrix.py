"""The fault matrix: each fault of a socket × submit, query and the download of an image.

One server child is pointed at one raw-socket server, whose behaviour is changed cell by cell. In each cell: a request
goes wrong, the child must say so in words, and its next request, to a server that behaves again, must succeed.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal

from tests.lab.torture.accounts import generations
from tests.lab.torture.processes import Gone, Stdio, api, text_of
from tests.lab.torture.tally import Tally
from tests.support import faults
from tests.support.broken_tls import finished, taken
from tests.support.fault_server import Connection, FaultServer, Step, fault_server
from tests.support.image_samples import PNG

TIMEOUT_SECONDS = 1.5
DRIP_SECONDS = 0.05
FETCH_SECONDS = 30.0
"""The server's own longest time for a picture; what drips there takes that long."""

# Of an answer that arrives in whole, whatever is wrong with it.
TASK = "ta823dfb-eb73-4bb0-a4c6-7cf2f14e2e4e"

_UNSURE = re.compile(r"may have been charged")
_NOT_SENT = re.compile(r"[Nn]othing was sent|[Nn]othing was charged")
_FREE = re.compile(r"costs nothing|not lost")


def breakages(right: Any) -> dict[str, Step]:
    """Every way for an answer to go wrong, where ``right`` would be right."""
    whole = right if isinstance(right, bytes) else json.dumps(right).encode()
    half = len(whole) // 3
    return {
        "reset before the body": faults.reset_amid_reading(20),
        "reset after the request": faults.reset_after_reading(),
        "reset during the answer": faults.reset_mid_body(whole, half),
        "reset after the answer": faults.reset_after_answering(whole),
        "closed before reading": faults.close_before_reading(),
        "closed after the request": faults.close_after_reading(),
        "closed after the headers": faults.close_after_headers(),
        "half-closed without an answer": faults.half_closed(),
        "half-closed within the answer": faults.half_closed(
            faults.answer_bytes(200, whole[:half], {"Content-Length": str(len(whole))})
        ),
        "slow headers": faults.slow_headers(DRIP_SECONDS),
        "drip": faults.drip(b" ", DRIP_SECONDS),
        "never an answer": faults.never_answer(),
        "Content-Length too long": faults.truncated(whole, half),
        "Content-Length too short": faults.wrong_length(whole, half - len(whole)),
        "Content-Length impossible": faults.raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + whole),
        "garbage": faults.raw(b"\x00\xff SSH-2.0 not HTTP at all\r\n\r\n"),
        "garbage before the request": faults.raw_at_once(b"\x15\x03\x01\x00\x02\x02\x28"),
        "headers without an end": faults.raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000),
        "impossible chunk": faults.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        "compressed garbage": faults.reply(200, b"no gzip", {"Content-Encoding": "gzip"}),
        "huge": faults.endless_body(b" "),
        "interim answers only": faults.raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
    }


SLOW = {"slow headers", "drip", "never an answer", "half-closed without an answer"}
"""Of these a fetch takes its whole time."""


class Switchboard:
    """The steps of a fault server by what is asked for."""

    def __init__(self) -> None:
        self.routes: dict[bytes, Step] = {}

    async def __call__(self, connection: Connection) -> None:
        """Serve one request."""
        request_start = await connection.peek()
        for start, step in self.routes.items():
            if request_start.startswith(start):
                await step(connection)
                return
        await faults.reply(404, {"code": 1, "message": "task not found"})(connection)


@contextmanager
def faulty_api() -> Iterator[tuple[FaultServer, Switchboard]]:
    """A raw-socket server in a thread."""
    board = Switchboard()
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(fault_server(board)) as server:
        yield server, board


class Cells:
    """The cells of one server child."""

    def __init__(self, tally: Tally, child: Stdio, server: Any, board: Any) -> None:
        self.tally = tally
        self.child = child
        self.server = server
        self.board = board
        self._numbers = iter(range(1, 1_000_000))

    def break_(self, start: bytes, step: Any) -> None:
        """From now on requests that begin so go wrong."""
        self.board.routes[start] = step

    def run(self, name: str, cell: Any) -> None:
        """One cell; whatever is wrong in it is written down under its name."""
        try:
            why, kind = cell(), "wrong"
        except Gone as error:
            why, kind = f"{error}; {self.child.output[-2_000:].decode('utf-8', 'replace')}", "crashes"
        if why is None and (unforeseen := self.child.unforeseen):
            why, kind = unforeseen, "crashes"
        if why is None:
            self.tally.passed()
        else:
            row_kind = next((item for item in ("lost", "double") if why.startswith(f"{item}:")), kind)
            self.tally.failed(f"{name}: {why}", row_kind)

    def behave(self, task_id: str, image: bytes = PNG) -> None:
        """From now on everything is answered as it should be."""
        self.board.routes = {
            b"POST /api/image/gen": faults.reply(200, taken(task_id)),
            b"GET /api/task/query": faults.reply(200, finished(task_id, f"{self.server.url}/files/{task_id}.png")),
            b"GET /files/": faults.reply(200, image, {"Content-Type": "image/png"}),
        }

    def new_id(self) -> str:
        """A task id that was not used before."""
        return f"ta{next(self._numbers):06d}-eb73-4bb0-a4c6-7cf2f14e2e4e"

    def submit(self, step: Any) -> str | None:
        """A submit goes wrong."""
        task_id = self.new_id()
        self.behave(task_id)
        self.break_(b"POST /api/image/gen", step)
        before = len(self.server.requests)
        prompt = f"cell {task_id}"
        result = self.child.tool("generate_image", prompt=prompt)
        posts = [item for item in self.server.requests[before:] if item.method == "POST"]
        text = text_of(result)
        if sum(item.whole for item in posts) > 1 or len(posts) > 1:
            return f"double: {len(posts)} requests"
        rows = [item for item in generations(self.child.folder) if item.prompt == prompt]
        accounted = any(item.task_id in (task_id, TASK, None) for item in rows)
        if posts and not accounted:
            return f"lost: the request arrived, and the ledger has {rows}; {text}"
        if not result.get("isError"):
            row_kind = result["structuredContent"]["task_id"] in (task_id, TASK)
            return None if row_kind else f"it made up an id: {text}"
        if posts and not _UNSURE.search(text):
            return f"it does not say that it may have been charged: {text}"
        if not (_UNSURE.search(text) or _NOT_SENT.search(text)):
            return f"it does not say whether credits may be gone: {text}"
        if _UNSURE.search(text) and (not rows or rows[0].public_id not in text):
            return f"it does not name the id of what may have been charged: {text}"
        return self._goes_on()

    def query(self, step: Any) -> str | None:
        """A query goes wrong, and again within a wait; neither loses the task."""
        task_id = self._made()
        posts = self.server.posts
        self.break_(b"GET /api/task/query", step)
        result = self.child.tool("get_task", task_id=task_id)
        text = text_of(result)
        if result.get("isError") and not (_FREE.search(text) or _NOT_SENT.search(text)):
            return f"it does not say that asking is free: {text}"
        if not result.get("isError") and result["structuredContent"]["status"] not in (
            "success",
            "pending",
            "in_progress",
        ):
            return f"it made up a state: {text}"
        waited = self.child.tool("wait_for_image", task_id=task_id, timeout_seconds=1)
        if waited.get("isError") or not (
            waited["structuredContent"]["next_step"] or waited["structuredContent"]["finished"]
        ):
            return f"a wait that met it does not go on: {text_of(waited)}"
        self.behave(task_id)
        if "success" not in text_of(self.child.tool("get_task", task_id=task_id)):
            return "the task is not found finished afterwards"
        return None if self.server.posts == posts else "double: a question led to a submit"

    def fetch(self, step: Any) -> str | None:
        """The fetching of a picture goes wrong, for a look and for a read."""
        task_id = self._made()
        posts = self.server.posts
        uri = f"nanobanana://tasks/{task_id}/images/0"
        self.child.tool("get_task", task_id=task_id)
        self.break_(b"GET /files/", step)
        # Both at once: what drips takes its whole time.
        look, read = self.child.number(), self.child.number()
        self.child.send(
            [
                {
                    "jsonrpc": "2.0",
                    "id": look,
                    "method": "tools/call",
                    "params": {"name": "view_image", "arguments": {"task_id": task_id}},
                },
                {"jsonrpc": "2.0", "id": read, "method": "resources/read", "params": {"uri": uri}},
            ]
        )
        answers = self.child.answers([look, read])
        seen = answers[look].get("result", {})
        if not text_of(seen) or "Error executing" in text_of(seen):
            return f"a look says nothing: {answers[look]}"
        if "result" not in answers[read] and len(answers[read]["error"]["message"]) < 20:
            return f"a read says nothing: {answers[read]}"
        self.behave(task_id)
        if not any(item["type"] == "image" for item in self.child.tool("view_image", task_id=task_id)["content"]):
            return "the picture cannot be looked at afterwards"
        contents = self.child.call("resources/read", {"uri": uri}).get("result", {}).get("contents", [{}])
        if base64.b64decode(contents[0].get("blob", "")) != PNG:
            return "the picture cannot be read afterwards"
        return None if self.server.posts == posts else "double: a look led to a submit"

    def _made(self) -> str:
        task_id = self.new_id()
        self.behave(task_id)
        made = self.child.tool("generate_image", prompt=f"cell {task_id}")
        if made.get("isError"):
            raise Gone(f"a picture cannot be asked for: {text_of(made)}")
        return task_id

    def _goes_on(self) -> str | None:
        task_id = self._made()
        done = text_of(self.child.tool("get_task", task_id=task_id))
        return None if "success" in done else f"afterwards it is not as before: {done}"


def matrix(folder: Path, *, long: bool) -> Iterator[Tally]:
    """On plain sockets: submit, query, fetch."""
    for operation, right in (
        ("submit", taken(TASK)),
        ("query", finished(TASK, "https://pictures.example.com/x.png")),
        ("fetch", PNG),
    ):
        tally = Tally(f"faults: {operation}")
        with (
            faulty_api() as (server, board),
            Stdio(folder=folder / operation, **api(server.url, DEFAPI_TIMEOUT_SECONDS=TIMEOUT_SECONDS)) as child,
        ):
            cells = Cells(tally, child, server, board)
            for name, step in breakages(right).items():
                if operation == "fetch" and name in SLOW and not long:
                    tally.figures["left to the long form"] = sorted(SLOW)
                    continue
                cells.run(name, lambda step=step: getattr(cells, operation)(step))  # noqa: B023 - at once
        yield tally
