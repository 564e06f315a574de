"""What comes over stdio and cannot be read is answered: the SDK drops it, and its caller would wait for ever.

That is more than noise: a host that cuts a text amid an emoji sends half of a surrogate pair.
"""

from __future__ import annotations

import json
from typing import Any, Self

from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.message import SessionMessage
from mcp.types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError
from pydantic import ValidationError

NOTHING_DONE = "Nothing was done with it, so nothing was charged."


class Readable(ReadStream[SessionMessage | Exception]):
    """The stream of a transport without what cannot be read, which is answered on ``answers``."""

    def __init__(self, stream: ReadStream[SessionMessage | Exception], answers: WriteStream[SessionMessage]) -> None:
        self._stream = stream
        self._answers = answers

    @property
    def last_context(self) -> Any:
        """The sender's context of the last message."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        """The next message that can be read."""
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
        """Close it."""
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def answer_to(error: Exception) -> JSONRPCError | None:
    """The answer to what could not be read; None where none is due: to blank lines, notifications and answers."""
    if not isinstance(error, ValidationError):
        return None
    problems = error.errors(include_url=False)
    if problems[0]["type"] == "json_invalid":
        line = problems[0]["input"]
        if not line.strip():
            return None
        reason = problems[0]["msg"].removeprefix("Invalid JSON: ")
        return _error(PARSE_ERROR, _loaded(line), f"This is no JSON that can be read: {reason}.")
    # Only a problem with the whole of it, such as a missing part, holds the whole of it.
    whole = next((problem["input"] for problem in problems if problem["type"] in ("missing", "model_type")), None)
    return _error(
        INVALID_REQUEST, whole, 'This is no request: it needs jsonrpc "2.0", a method, and params as an object.'
    )


def _loaded(line: str) -> Any:
    """Python's own reader takes some of what pydantic's refuses."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _error(code: int, message: Any, words: str) -> JSONRPCError | None:
    number = None
    if isinstance(message, dict):
        number = message.get("id")
        if "method" not in message or number is None:
            return None
        if (
            isinstance(number, bool)
            or not isinstance(number, int | str)
            or (isinstance(number, str) and not _sound(number))
        ):
            number = None
    return JSONRPCError(jsonrpc="2.0", id=number, error=ErrorData(code=code, message=f"{words} {NOTHING_DONE}"))


def _sound(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
