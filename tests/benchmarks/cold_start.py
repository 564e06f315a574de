"""Spawn to answered ``tools/list`` over stdio, ours and the bare echo server's in turn."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.support.clients import clean_environment
from tests.support.handshake import INITIALIZE, INITIALIZED

TARGET_RATIO = 1.15
OURS = [sys.executable, "-m", "nano_banana_mcp"]
ECHO = [sys.executable, "-m", "tests.benchmarks.echo_server"]

_LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}


@dataclass(frozen=True)
class ColdStart:
    """Median seconds of each, the ratio of the medians, and the median of the pairs' ratios."""

    ours: float
    echo: float
    pairs: list[float]

    @property
    def ratio(self) -> float:
        """Median over the pairs: each pair ran side by side, so the machine's drift cancels out."""
        return statistics.median(self.pairs)


def measure(rounds: int) -> ColdStart:
    """Run both ``rounds`` times in turn, after one uncounted start each."""
    once(OURS), once(ECHO)
    times = [(once(OURS), once(ECHO)) for _ in range(rounds)]
    return ColdStart(
        statistics.median(ours for ours, _ in times),
        statistics.median(echo for _, echo in times),
        [ours / echo for ours, echo in times],
    )


def once(command: list[str], cwd: Path | None = None, environment: dict[str, str] | None = None) -> float:
    """Seconds from the spawn to the answered ``tools/list``."""
    began = time.perf_counter()
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=clean_environment() if environment is None else environment,
        cwd=cwd,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for message in (INITIALIZE, INITIALIZED, _LIST):
            process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
        _read_answer(process.stdout, 2)
        seconds = time.perf_counter() - began
        process.stdin.close()
        process.wait(10)
    return seconds


def _read_answer(stream: IO[bytes], wanted: int) -> None:
    for line in stream:
        if json.loads(line).get("id") == wanted:
            return
    raise RuntimeError("the server ended without an answer")
