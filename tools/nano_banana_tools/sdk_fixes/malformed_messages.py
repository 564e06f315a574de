"""The SDK drops a stdio message that it cannot parse, so its sender waits for ever; here it gets an error answer.

This happens in practice: a host that cuts a text inside an emoji sends half of a surrogate pair. No upstream issue is
filed yet.
"""

from __future__ import annotations

import json
from typing import Any, Self

from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.message import SessionMessage
from mcp.types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError
from pydantic import ValidationError

NOT_PROCESSED = "The message was not processed, so nothing was charged."


class ReadableMessages(ReadStream[SessionMessage | Exception]):
    """A transport's stream without unreadable messages, which are answered on ``answers``."""

    def __init__(self, stream: ReadStream[SessionMessage | Exception], answers: WriteStream[SessionMessage]) -> None:
        self._stream = stream
        self._answers = answers

    @property
    def last_context(self) -> Any:
        """The sender's context of the last message."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        """The next readable message."""
        while isinstance(item := await self._stream.receive(), Exception):
            if (answer := answer_to(item)) is not None:
                await self._answers.send(SessionMessage(answer))
        return item

    async def __anext__(self) -> SessionMessage | Exception:
        while isinstance(item := await self._stream.__anext__(), Exception):
            if (answer := answer_to(item)) is not None:
                await self._answers.send(SessionMessage(answer))
        return item

    def __aiter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def answer_to(error: Exception) -> JSONRPCError | None:
    """The answer to an unreadable message; None for blank lines, notifications and answers, which get none."""
    if not isinstance(error, ValidationError):
        return None
    problems = error.errors(include_url=False)
    if problems[0]["type"] == "json_invalid":
        line = problems[0]["input"]
        if not line.strip():
            return None
        reason = problems[0]["msg"].removeprefix("Invalid JSON: ")
        return _error(PARSE_ERROR, _parse_leniently(line), f"The message is not valid JSON: {reason}.")
    # Only a problem with the whole message, such as a missing field, carries the whole message.
    message = next((problem["input"] for problem in problems if problem["type"] in ("missing", "model_type")), None)
    return _error(
        INVALID_REQUEST,
        message,
        'The message is not a JSON-RPC request: it needs jsonrpc "2.0", a method, and params as an object.',
    )


def _parse_leniently(line: str) -> Any:
    """Parse with the standard library, which accepts some messages that pydantic refuses."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _error(code: int, message: Any, reason: str) -> JSONRPCError | None:
    request_id = None
    if isinstance(message, dict):
        request_id = message.get("id")
        if "method" not in message or request_id is None:
            return None
        if (
            isinstance(request_id, bool)
            or not isinstance(request_id, int | str)
            or (isinstance(request_id, str) and not _is_encodable(request_id))
        ):
            request_id = None
    return JSONRPCError(jsonrpc="2.0", id=request_id, error=ErrorData(code=code, message=f"{reason} {NOT_PROCESSED}"))


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
