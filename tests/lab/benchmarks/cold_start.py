"""Spawn to answered ``tools/list`` over stdio: ours, a bare echo server of the SDK, and one of FastMCP, in turn."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tests.lab.benchmarks import peer
from tests.lab.benchmarks.figures import Row
from tests.support.clients import clean_environment
from tests.support.handshake import INITIALIZE, INITIALIZED
from tests.support.npm import NotToBeHadError

TARGET_RATIO = 1.10
TARGET_RATIO_TO_FASTMCP = 1.0
OURS = [sys.executable, "-m", "nano_banana_mcp"]
ECHO = [sys.executable, "-m", "tests.lab.benchmarks.echo_server"]

LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}


def measure(commands: list[list[str]], rounds: int) -> list[list[float]]:
    """Start all so many times in turn, after one uncounted start each; seconds of each start, by command."""
    times: list[list[float]] = [[] for _ in commands]
    order = list(zip(commands, times, strict=True))
    for number in range(rounds + 1):
        for command, taken in order if number % 2 else reversed(order):
            seconds = once(command)
            if number:
                taken.append(seconds)
    return times


def once(command: list[str], cwd: Path | None = None, environment: dict[str, str] | None = None) -> float:
    """Seconds from the spawn to the answered ``tools/list``."""
    began = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as state,
        listed(command, cwd, {**(environment or clean_environment()), "NANO_BANANA_STATE_DIR": state}),
    ):
        return time.perf_counter() - began


class listed:  # noqa: N801 - a context manager
    """A server process over stdio that has listed its tools; ``answer`` is the line it sent."""

    answer: bytes

    def __init__(
        self, command: list[str], cwd: Path | None = None, environment: dict[str, str] | None = None, **more: str
    ) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**(environment or clean_environment()), **more},
            cwd=cwd,
        )

    def __enter__(self) -> listed:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        for message in (INITIALIZE, INITIALIZED, LIST):
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


def rows(quick: bool) -> Iterator[Row]:
    """The ratios: medians over the rounds, in each of which all were started side by side."""
    against_fastmcp = "spawn to tools/list, against a FastMCP echo server"
    commands = [OURS, ECHO]
    try:
        commands.append(peer.obtain())
    except NotToBeHadError as error:
        yield Row(against_fastmcp, None, "×", relation="<", target=TARGET_RATIO_TO_FASTMCP, spread=str(error))
    ours, *others = measure(commands, 3 if quick else 15)
    median = statistics.median(ours)
    yield _ratio("spawn to tools/list, against a bare SDK echo server", ours, others[0], TARGET_RATIO)
    if others[1:]:
        yield _ratio(against_fastmcp, ours, others[1], TARGET_RATIO_TO_FASTMCP, below=True)
    yield Row("spawn to tools/list", median, "s", spread=f"{min(ours):.2f}-{max(ours):.2f} s")


def _ratio(what: str, ours: list[float], theirs: list[float], target: float, *, below: bool = False) -> Row:
    pairs = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Row(
        what,
        statistics.median(pairs),
        "×",
        f"its {statistics.median(theirs):.2f} s",
        "<" if below else "≤",
        target,
        f"pairs {min(pairs):.2f}-{max(pairs):.2f}",
    )
