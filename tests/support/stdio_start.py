"""The time from the start of a server over stdio to its first answer."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO

from tests.support.clients import clean_environment
from tests.support.handshake import INITIALIZE, INITIALIZED

Message = dict[str, object]

LIST: Message = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}


def seconds_to_answer(
    command: list[str],
    message: Message = LIST,
    *,
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
) -> float:
    """Seconds from the spawn to the answer to ``message``."""
    began = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as state,
        answering(command, message, cwd=cwd, environment=environment, NANO_BANANA_STATE_DIR=state),
    ):
        return time.perf_counter() - began


class answering:  # noqa: N801 - a context manager
    """A server process over stdio that has answered one message; ``answer`` is the line it sent."""

    answer: bytes

    def __init__(
        self,
        command: list[str],
        message: Message = LIST,
        *,
        cwd: Path | None = None,
        environment: dict[str, str] | None = None,
        **settings: str,
    ) -> None:
        self._message = message
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**(environment or clean_environment()), **settings},
            cwd=cwd,
        )

    def __enter__(self) -> answering:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        for message in (INITIALIZE, INITIALIZED, self._message):
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()
        self.answer = _read_answer(self.process.stdout, 2)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=10)


def _read_answer(stream: IO[bytes], wanted: int) -> bytes:
    for line in stream:
        if json.loads(line).get("id") == wanted:
            return line
    raise RuntimeError("the server ended without an answer")
