"""A server process over stdio that a test speaks to line by line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcp.client.stdio import StdioServerParameters

from tests.support.clients import child
from tests.support.handshake import INITIALIZE, INITIALIZED


class Raw:
    """A server process spoken to line by line."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.lines: list[bytes] = []

    def send(self, message: bytes | dict[str, Any]) -> None:
        """Send one line."""
        assert self.process.stdin is not None
        line = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def answer(self, wanted: int) -> dict[str, Any]:
        """The answer with this id; messages before it are skipped."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            message: dict[str, Any] = json.loads(line)
            if message.get("id") == wanted:
                return message
        raise AssertionError("the server ended without an answer")

    def call(self, number: int, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool and return the answer."""
        params = {"name": tool, "arguments": arguments}
        self.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
        return self.answer(number)

    def finish(self) -> tuple[int, bytes]:
        """Close stdin and return the exit code and stderr."""
        out, err = self.process.communicate(timeout=60)
        self.lines += out.splitlines()
        return self.process.returncode, err

    def resident_megabytes(self) -> float:
        """The memory of the process, from /proc."""
        [line] = [line for line in self._proc("status").splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1_000

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text()


@contextmanager
def raw(*arguments: str, **settings: str) -> Iterator[Raw]:
    """A server process after its handshake; ``settings`` are environment variables."""
    with raw_process(child(*arguments, **settings)) as server:
        yield server


@contextmanager
def raw_process(parameters: StdioServerParameters) -> Iterator[Raw]:
    """The process of these start parameters after its handshake."""
    command = [parameters.command, *parameters.args]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, env=parameters.env, cwd=parameters.cwd, **pipes) as process:
        server = Raw(process)
        try:
            server.send(INITIALIZE)
            server.answer(1)
            server.send(INITIALIZED)
            yield server
        finally:
            process.kill()
