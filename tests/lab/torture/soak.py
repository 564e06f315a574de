"""A steady load on a serving process, with callbacks, and what it takes of the machine over time."""

from __future__ import annotations

import os
import re
import statistics
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.lab.torture.accounts import account
from tests.lab.torture.processes import Gone, Http, api, sandbox, text_of
from tests.lab.torture.tally import Tally
from tests.support.fault_server import unused_port

CALLERS = 4
PAUSE_SECONDS = 0.05
IMAGE_SECONDS = 1.0
SAMPLE_SECONDS = 0.5
WARM_UP_SHARE = 1 / 3
WAIT_SECONDS = 60

MAX_GROWTH_MEGABYTES_AN_HOUR = 60.0
MAX_GROWTH_MEGABYTES = 12.0
"""After warm-up, between the first and the last quarter of what is left. A short run cannot tell more."""
MAX_MORE_FILES = 8
"""Beyond the most that were open during warm-up: connections come and go."""
MAX_MORE_THREADS = 10
"""The pool that writes and waits grows with what happens to come together; anyio bounds it at 40."""


@dataclass(frozen=True)
class Sample:
    """What the process had at one moment."""

    at: float
    memory: int
    files: int
    threads: int


def sampled(pid: int) -> Sample:
    """By ``/proc``."""
    status = Path(f"/proc/{pid}/status").read_text()
    memory, threads = (re.search(rf"{name}:\s+(\d+)", status) for name in ("VmRSS", "Threads"))
    assert memory is not None
    assert threads is not None
    return Sample(time.monotonic(), int(memory[1]) * 1024, len(os.listdir(f"/proc/{pid}/fd")), int(threads[1]))


def slope(samples: list[Sample]) -> float:
    """Bytes a second: the median of the slopes between samples half the time apart, which no single peak moves."""
    half = len(samples) // 2
    pairs = zip(samples[:half], samples[len(samples) - half :], strict=True)
    return statistics.median((late.memory - early.memory) / (late.at - early.at) for early, late in pairs)


def soak(folder: Path, seconds: float) -> Tally:
    """Each caller in turn asks for a picture, waits for it, asks for its state, looks at it."""
    tally = Tally("soak")
    if sys.platform != "linux":
        return tally  # what a process takes is read from /proc
    port = unused_port()
    done: Counter[str] = Counter()
    over = threading.Event()
    lock = threading.Lock()

    with sandbox(seconds=IMAGE_SECONDS) as served:
        environment = api(served.url, NANO_BANANA_PUBLIC_URL=f"http://127.0.0.1:{port}", NANO_BANANA_CACHE_MEGABYTES=20)
        with Http(folder=folder, port=port, **environment) as server:

            def call(tool: str, **arguments: object) -> dict[str, object]:
                result = server.tool(tool, **arguments)
                with lock:
                    if result.get("isError") or not result["content"]:
                        tally.failed(f"{tool}: {text_of(result)}", "wrong")
                    else:
                        tally.passed()
                return result

            def caller(number: int) -> None:
                turn = 0
                try:
                    while not over.is_set():
                        turn += 1
                        made = call("generate_image", prompt=f"soak {number} {turn}", request_id=f"{number}-{turn}")
                        task_id = made["structuredContent"]["task_id"]  # type: ignore[index]  # an answer's shape is what is looked at
                        waited = call("wait_for_image", task_id=task_id, timeout_seconds=WAIT_SECONDS)
                        status = waited["structuredContent"]["status"]  # type: ignore[index]  # an answer's shape is what is looked at
                        with lock:
                            done[status] += 1
                        call("get_task", task_id=task_id)
                        if turn % 4 == 0:  # each starts a process
                            call("view_image", task_id=task_id, max_side=256)
                        if turn % 4 == 2:
                            call("browse_images", search=f"soak {number}")
                        over.wait(PAUSE_SECONDS)
                except (Gone, TypeError, KeyError) as error:
                    with lock:
                        tally.failed(f"caller {number}: {error!r}")

            callers = [threading.Thread(target=caller, args=[number]) for number in range(CALLERS)]
            for item in callers:
                item.start()
            samples = [sampled(server.process.pid)]
            until = time.monotonic() + seconds
            while time.monotonic() < until and server.alive:
                over.wait(SAMPLE_SECONDS)
                samples.append(sampled(server.process.pid))
            over.set()
            for item in callers:
                item.join()
            if why := server.unforeseen:
                tally.failed(why)
        account(tally, served, folder)
        tally.figures["callbacks"] = served.stats.callbacks_sent
        tally.figures["queries a picture"] = round(served.stats.queries / max(1, len(served.tasks)), 2)
    _judge(tally, samples, done)
    return tally


def _judge(tally: Tally, samples: list[Sample], done: Counter[str]) -> None:
    warm, rest = samples[: int(len(samples) * WARM_UP_SHARE)], samples[int(len(samples) * WARM_UP_SHARE) :]
    quarter = max(1, len(rest) // 4)
    begin, end = (statistics.median(item.memory for item in part) for part in (rest[:quarter], rest[-quarter:]))
    an_hour = slope(rest) * 3600 / 1e6
    growth = (end - begin) / 1e6
    files = max(item.files for item in warm), max(item.files for item in rest)
    threads = max(item.threads for item in warm), max(item.threads for item in rest)
    tally.figures |= {
        "pictures": dict(done),
        "seconds": round(samples[-1].at - samples[0].at),
        "memory MB at the start, after warm-up, at the end": [
            round(item / 1e6, 1) for item in (samples[0].memory, begin, end)
        ],
        "slope MB an hour": round(an_hour, 1),
        "open files, warm-up and after": list(files),
        "threads, warm-up and after": list(threads),
    }
    long = samples[-1].at - samples[0].at > 300
    if growth > MAX_GROWTH_MEGABYTES or (long and an_hour > MAX_GROWTH_MEGABYTES_AN_HOUR):
        tally.failed(f"memory grows: {growth:.1f} MB, {an_hour:.0f} MB an hour", "wrong")
    if files[1] > files[0] + MAX_MORE_FILES:
        tally.failed(f"open files grow: {files}", "wrong")
    if threads[1] > threads[0] + MAX_MORE_THREADS:
        tally.failed(f"threads grow: {threads}", "wrong")
    if set(done) - {"success"}:
        tally.failed(f"not all pictures arrived: {dict(done)}", "wrong")
