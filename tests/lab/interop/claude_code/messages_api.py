"""A stand-in for the Messages API on loopback: it plays a model that calls tools, and records its input."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

Call = tuple[str, dict[str, Any]]
"""A tool and its arguments. ``TASK_ID`` in an argument is the newest task id in the conversation."""

_TASK_ID = re.compile(r"\bta[0-9a-f-]{34,36}\b")
_ABOUT = {"model": "scripted", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}


class ScriptedModel:
    """Answers each request of the main conversation with the next call of the script, then with a word.

    Args:
        calls: The script.
        prefix: What the host puts before the names of the server's tools.
        end: Ends the run when a request contains it; None for the end of the script.

    Attributes:
        ended: Set at the end of the run.
        messages: The main conversation, as last sent.
    """

    def __init__(self, calls: Sequence[Call], prefix: str, end: str | None = None) -> None:
        self._calls = list(calls)
        self._prefix = prefix
        self._end = end
        self._lock = threading.Lock()
        self.messages: list[dict[str, Any]] = []
        self.ended = threading.Event()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request. Requests without the server's tools are the host's own, such as for a title."""
        block: dict[str, Any] = {"type": "text", "text": "Done."}
        with self._lock:
            if any(tool.get("name", "").startswith(self._prefix) for tool in request.get("tools", [])):
                self.messages = request["messages"]
                if self._calls:
                    block = self._next_call()
                elif self._end is None or self._end in json.dumps(self.messages):
                    self.ended.set()
        stop = "tool_use" if block["type"] == "tool_use" else "end_turn"
        return {"id": "m", "type": "message", "role": "assistant", "content": [block], "stop_reason": stop, **_ABOUT}

    def _next_call(self) -> dict[str, Any]:
        tool, arguments = self._calls.pop(0)
        ids = _TASK_ID.findall(json.dumps(self.messages))
        filled = json.loads(json.dumps(arguments).replace("TASK_ID", ids[-1] if ids else ""))
        return {"type": "tool_use", "id": f"toolu_{len(self._calls):02}", "name": self._prefix + tool, "input": filled}

    def results(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """Each tool that was called, and the content that the model was shown for it."""
        parts = [part for item in self.messages if isinstance(item["content"], list) for part in item["content"]]
        tools = {part["id"]: part["name"].removeprefix(self._prefix) for part in parts if part["type"] == "tool_use"}
        results = [part for part in parts if part["type"] == "tool_result"]
        return [(tools[part["tool_use_id"]], _blocks(part.get("content"))) for part in results]


@contextmanager
def serving_model(model: ScriptedModel) -> Iterator[str]:
    """The address of the Messages API that answers with ``model``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        log_message: ClassVar[Any] = lambda *_: None

        def do_GET(self) -> None:
            self._send(b"", "text/plain")

        do_HEAD = do_GET  # noqa: N815 - the library's name

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if not self.path.partition("?")[0].endswith("/messages"):
                self._send(b'{"input_tokens": 1}', "application/json")
                return
            message = model.answer(request)
            if request.get("stream"):
                self._send(_as_events(message), "text/event-stream")
            else:
                self._send(json.dumps(message).encode(), "application/json")

        def _send(self, data: bytes, media_type: str) -> None:
            self.send_response(200)
            self.send_header("content-type", media_type)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content or []


def _as_events(message: dict[str, Any]) -> bytes:
    """A whole answer as a stream."""
    [block] = message["content"]
    if block["type"] == "text":
        start, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        start, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": start},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": message["stop_reason"]}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
