"""``serve --http`` under load: the sandbox, the server and the clients each in a process of their own.

``python -m tests.lab.benchmarks.load [WAITS …]`` runs it alone. It reads ``/proc``, and so needs Linux.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nano_banana_mcp.http.server import GRACE_SECONDS
from tests.lab.benchmarks.figures import Row
from tests.support.clients import KEY, child, clean_environment

TARGET_KILOBYTES = 100
TARGET_STALL_SECONDS = 0.4
TARGET_THROUGHPUT = 0.8

PROBE_EVERY_SECONDS = 0.02


@dataclass(frozen=True)
class Load:
    """How a number of concurrent waits ended, and what they cost the server.

    Attributes:
        ends: How many ended in which state, or with which error.
        idle: Resident memory before the clients came, in kB; ``before`` the waits; ``peak`` at most.
        stalls: Seconds that each probe of ``/healthz`` took, and for how many of them the server's event loop was at
            work rather than waiting for a processor.
    """

    waits: int
    ends: dict[str, int]
    seconds: float
    idle: int
    before: int
    peak: int
    stalls: list[tuple[float, float]]

    @property
    def per_wait(self) -> float:
        """Resident bytes above idle, in thousands."""
        return (self.peak - self.idle) * 1.024 / self.waits

    def rows(self, what: str, *, memory: bool, stall: bool) -> Iterator[Row]:
        """The figures; ``memory`` and ``stall`` say for which of them there is a target besides that all end."""
        taken, worked = zip(*self.stalls, strict=True)
        others = {state: count for state, count in self.ends.items() if state != "success"}
        yield Row(
            f"{what}: ended with their picture",
            self.ends.get("success", 0),
            compared_to=f"in {self.seconds:.1f} s" + (f"; else {others}" if others else ""),
            relation="=",
            target=self.waits,
        )
        yield Row(
            f"{what}: resident memory a wait",
            self.per_wait,
            "kB",
            f"above idle at {self.idle * 1.024e-3:.1f} MB",
            target=TARGET_KILOBYTES if memory else None,
            spread=f"idle {self.idle * 1.024e-3:.1f} MB, peak {self.peak * 1.024e-3:.1f} MB",
        )
        slow = sum(seconds > TARGET_STALL_SECONDS for seconds in worked)
        yield Row(
            f"{what}: longest round of the event loop",
            max(worked) * 1000,
            "ms",
            f"median answer of /healthz {statistics.median(taken) * 1000:.1f} ms",
            target=TARGET_STALL_SECONDS * 1000 if stall else None,
            spread=f"{slow} of {len(worked)} probes longer than {TARGET_STALL_SECONDS * 1000:.0f} ms; "
            f"with the wait for a processor at most {max(taken) * 1000:.0f} ms",
        )


@dataclass
class Probe:
    """Asks ``/healthz`` all the time and notes how long each answer takes."""

    pid: int
    url: str
    taken: list[tuple[float, float]] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ask while the block runs."""
        over = threading.Event()
        thread = threading.Thread(target=self._run, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _run(self, over: threading.Event) -> None:
        host, _, port = self.url.removeprefix("http://").partition(":")
        request = f"GET /healthz HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
        with socket.create_connection((host, int(port))) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not over.wait(PROBE_EVERY_SECONDS):
                began, worked = time.perf_counter(), self._worked()
                connection.sendall(request)
                answer = b""
                while b'"ok"' not in answer:
                    answer += connection.recv(65_536) or b'"ok"'
                self.taken.append((time.perf_counter() - began, self._worked() - worked))

    def _worked(self) -> float:
        """Seconds that the server's main thread has had a processor."""
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def sandbox(seconds: float) -> Iterator[str]:
    """The stand-in API in a process of its own; its URL."""
    command = [sys.executable, "-m", "tests.lab.benchmarks.sandbox", str(seconds)]
    with _process(command, clean_environment(), "stdout", rb"http://[\d.:]+") as (_, url):
        yield url


@contextmanager
def server(api: str, **settings: Any) -> Iterator[tuple[int, str]]:
    """``serve --http`` on that API; its process id and root URL."""
    with tempfile.TemporaryDirectory() as state:
        parameters = child(
            *("serve", "--http", "--port", "0"),
            **{"DEFAPI_BASE_URL": api, "DEFAPI_API_KEY": KEY, "NANO_BANANA_STATE_DIR": state, **settings},
        )
        with _process([parameters.command, *parameters.args], parameters.env, "stderr", rb"http://[\d.:]+") as match:
            yield match


@contextmanager
def echo() -> Iterator[tuple[int, str]]:
    """The bare echo server over HTTP; its process id and root URL."""
    command = [sys.executable, "-m", "tests.lab.benchmarks.echo_server", "--http"]
    with _process(command, clean_environment(), "stderr", rb"http://[\d.:]+") as match:
        yield match


@contextmanager
def _process(command: list[str], environment: Any, says: str, what: bytes) -> Iterator[tuple[int, str]]:
    """A child process that names its address in its first lines."""
    streams: Any = {"stdout": subprocess.DEVNULL, "stderr": None, says: subprocess.PIPE}
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, **streams) as process:
        try:
            stream = getattr(process, says)
            match = None
            while match is None:
                line = stream.readline()
                assert line, "it ended"
                match = re.search(what, line)
            drain = threading.Thread(target=lambda: [os.write(2, said) for said in stream], daemon=True)
            if says == "stderr":
                drain.start()
            yield process.pid, match[0].decode()
        finally:
            process.terminate()
            process.wait(15)


@contextmanager
def clients(order: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """A process of clients that has its order."""
    command = [sys.executable, "-m", "tests.lab.benchmarks.load_clients"]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        try:
            yield process
        finally:
            process.kill()


def report(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line that it says."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the clients ended"
    said: dict[str, Any] = json.loads(line)
    return said


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What it says once all its waits have ended."""
    while "ends" not in (said := report(process)):
        pass
    return said


def waits(
    count: int,
    *,
    mode: str = "auto",
    tasks: int | None = None,
    seconds: float = 20,
    timeout: float = 240,
    plainly: bool = False,
) -> Load:
    """Concurrent waits, each by a client of its own (``plainly``: not the SDK's), for ``tasks`` tasks (one each)."""
    with sandbox(seconds) as api, server(api) as (pid, root):
        where = {"url": f"{root}/mcp", "mode": mode}
        with clients({"do": "submit", **where, "count": 1}) as first:
            report(first)
        idle = resident(pid)
        with clients({"do": "submit", **where, "count": tasks or count}) as submitting:
            task_ids = report(submitting)["task_ids"]
        task_ids = (task_ids * count)[:count]
        probe = Probe(pid, root)
        order = {"do": "wait_plainly" if plainly else "wait", **where, "task_ids": task_ids, "timeout": timeout}
        with clients(order) as waiting:
            report(waiting)
            before = resident(pid)
            with probe.running():
                said = ended(waiting)
            peak = resident(pid, "VmHWM")
        return Load(count, said["ends"], said["seconds"], idle, before, peak, probe.taken)


def shutdown(count: int) -> tuple[dict[str, int], float]:
    """A signal during concurrent waits: how they ended, and the seconds until the last answer."""
    with sandbox(3600) as api, server(api) as (pid, root):
        where = {"url": f"{root}/mcp", "mode": "auto"}
        with clients({"do": "submit", **where, "count": count}) as submitting:
            task_ids = report(submitting)["task_ids"]
        with clients({"do": "wait", **where, "task_ids": task_ids, "timeout": 240}) as waiting:
            while "waiting" not in report(waiting):
                pass
            began = time.perf_counter()
            os.kill(pid, signal.SIGTERM)
            return report(waiting)["ends"], time.perf_counter() - began


def throughput(rounds: int = 7, calls: int = 50, at_once: int = 4, mode: str = "auto") -> list[float]:
    """``get_task`` of a finished task over a bare echo, in calls a second: the ratio of each pair of rounds."""
    with ExitStack() as running:
        api = running.enter_context(sandbox(0))
        _, ours = running.enter_context(server(api))
        _, bare = running.enter_context(echo())
        with clients({"do": "submit", "url": f"{ours}/mcp", "mode": mode, "count": 1}) as submitting:
            [task_id] = report(submitting)["task_ids"]
        wait = {"do": "wait", "url": f"{ours}/mcp", "mode": mode, "task_ids": [task_id], "timeout": 20}
        with clients(wait) as waiting:
            assert ended(waiting)["ends"] == {"success": 1}
        places = [
            {"url": f"{ours}/mcp", "tool": "get_task", "arguments": {"task_id": task_id}},
            {"url": f"{bare}/mcp", "tool": "echo", "arguments": {"text": task_id}},
        ]
        order = {"do": "call", "mode": mode, "clients": at_once, "places": places, "rounds": rounds, "calls": calls}
        with clients(order) as calling:
            of_ours, of_echo = report(calling)["times"]
    return [theirs / mine for mine, theirs in zip(of_ours, of_echo, strict=True)]


def resident(pid: int, what: str = "VmRSS") -> int:
    """Resident memory of a process in kB."""
    match = re.search(rf"{what}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1])


def rows(quick: bool) -> Iterator[Row]:
    """Rising numbers of waits; then many for one picture, some with sessions, and a signal in the middle."""
    if sys.platform != "linux":
        yield Row("waits at once", None, spread="there is no /proc")
        return
    yield from waits(100, seconds=5).rows("100 waits", memory=False, stall=True)
    if quick:
        return
    # Long enough that all clients are connected, and all wait, before the first picture comes.
    yield from waits(1_000, seconds=30).rows("1,000 waits", memory=True, stall=True)
    yield from waits(3_000, seconds=90, plainly=True).rows("3,000 waits", memory=False, stall=False)
    yield from waits(1_000, seconds=25, tasks=1).rows("1,000 waits for one picture", memory=False, stall=False)
    yield from waits(100, seconds=5, mode="legacy").rows("100 waits with sessions", memory=False, stall=False)
    ends, seconds = shutdown(300)
    yield Row(
        "a signal in the middle of 300 waits: answered with their next step",
        ends.get("next step", 0),
        compared_to=f"the last after {seconds:.1f} s of {GRACE_SECONDS:g} s grace",
        relation="=",
        target=300,
    )


if __name__ == "__main__":
    for number in [int(number) for number in sys.argv[1:]] or (100, 1_000, 3_000):
        for row in waits(number, seconds=15 + number / 40).rows(f"{number} waits", memory=True, stall=True):
            print(row.what, row.shown, row.promised, row.verdict, row.spread, sep="  ", flush=True)
