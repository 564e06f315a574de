"""A steady, light load of every kind of call on a serving process, and its memory and files over time."""

from __future__ import annotations

import itertools
import os
import re
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.torture.accounts import account
from tests.lab.torture.processes import WITH_FORMS, WITH_TASKS, Gone, Http, api, sandbox, text_of
from tests.lab.torture.tally import Tally
from tests.support.fault_server import unused_port
from tests.support.uploads import form, photo

CALLERS = 4
PAUSE_SECONDS = 0.25
IMAGE_SECONDS = 1.0
SAMPLE_SECONDS = 0.5
WARM_UP_SHARE = 1 / 3
WAIT_SECONDS = 60
BATCH = 4
CONFIRM_CREDITS = "1.6"
"""Above the price of three images of the sandbox (0.5 each), so that a person is asked about a batch of four."""

MIN_JUDGED_SECONDS = 300.0
"""A shorter soak is warm-up for the most part: only :data:`MAX_GROWTH_MEGABYTES` and the bounds below hold for it."""
WINDOWS = 6
MIN_TREND = 13
"""Rising pairs of six windows less falling ones: by chance in 0.8 % of all cases (Mann-Kendall, exact, one-sided)."""
MAX_STEADY_GROWTH_SHARE = 0.05
"""Of the first window: what partly used pages of the allocator may add, and the bounded memories that still fill in
half an hour (metrics, callbacks, MIME types and sizes of the last thousands of images; SQLite's cache of 2 MB)."""
MAX_GROWTH_MEGABYTES = 12.0
"""After warm-up, between the first and the last quarter of what is left."""
MAX_MORE_FILES = 8
"""Beyond the most that were open during warm-up: connections come and go."""
MAX_MORE_THREADS = 10
"""The pool that writes and waits grows with what happens to come together; anyio bounds it at 40."""


@dataclass(frozen=True)
class Sample:
    """What the process had at one moment.

    Attributes:
        memory: Resident bytes.
        cpu: Seconds of its own so far.
    """

    at: float
    memory: int
    files: int
    threads: int
    cpu: float = 0.0


def sampled(pid: int) -> Sample:
    """By ``/proc``."""
    status = Path(f"/proc/{pid}/status").read_text()
    memory, threads = (re.search(rf"{name}:\s+(\d+)", status) for name in ("VmRSS", "Threads"))
    assert memory is not None
    assert threads is not None
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    cpu = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return Sample(time.monotonic(), int(memory[1]) * 1024, files, int(threads[1]), cpu)


def window_medians(samples: Sequence[Sample]) -> list[float]:
    """The median memory of each of :data:`WINDOWS` windows of equal length."""
    edges = [len(samples) * number // WINDOWS for number in range(WINDOWS + 1)]
    return [statistics.median(item.memory for item in samples[low:high]) for low, high in itertools.pairwise(edges)]


def steady_growth(medians: Sequence[float]) -> float:
    """Bytes from the first to the last window if the memory grows steadily, else 0.

    The rule: a trend by the test of Mann and Kendall (H. B. Mann, Nonparametric tests against trend, Econometrica 13,
    1945), the size of which, by the slope of Theil and Sen (the median of the slopes of all pairs, P. K. Sen, JASA 63,
    1968), is more than :data:`MAX_STEADY_GROWTH_SHARE`. Neither a single peak nor a late step moves them.
    """
    pairs = list(itertools.combinations(range(len(medians)), 2))
    trend = sum((medians[late] > medians[early]) - (medians[late] < medians[early]) for early, late in pairs)
    slope = statistics.median((medians[late] - medians[early]) / (late - early) for early, late in pairs)
    growth = slope * (len(medians) - 1)
    return growth if trend >= MIN_TREND and growth > MAX_STEADY_GROWTH_SHARE * medians[0] else 0.0


@dataclass
class Load:
    """What the callers have in common.

    Attributes:
        done: Images by the state in which they ended.
        submits: Submits that each confirmed prompt may have.
        kinds: Turns by kind.
    """

    tally: Tally
    server: Http
    done: Counter[str] = field(default_factory=Counter)
    submits: dict[str, int] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    photo: bytes = field(default_factory=lambda: form(photo((640, 480)), mime_type=b"image/jpeg"))

    def checked(self, result: dict[str, Any], what: str, *, ok: bool) -> dict[str, Any]:
        """Count an answer, and return it."""
        with self.lock:
            if ok:
                self.tally.passed()
            else:
                self.tally.failed(f"{what}: {text_of(result) or result}", "wrong")
        return result

    def tool(self, name: str, **arguments: Any) -> dict[str, Any]:
        """The facts that a tool answers; empty without any."""
        result = self.server.tool(name, **arguments)
        self.checked(result, name, ok=not result.get("isError") and bool(result["content"]))
        facts: dict[str, Any] = result.get("structuredContent", {})
        return facts

    def ended(self, facts: dict[str, Any]) -> None:
        """Count an end."""
        with self.lock:
            self.done[facts["status"]] += 1

    def answered(self, arguments: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        """Call the paid tool, and again with a person's answer to its question."""
        call = {"name": "generate_image", "arguments": arguments, "_meta": WITH_FORMS}
        question = self.server.result("tools/call", **call)
        self.checked(question, "the question", ok=question["resultType"] == "input_required")
        more = {"requestState": question["requestState"], "inputResponses": {"confirmation": answer}}
        return self.server.result("tools/call", **call, **more)


class Caller:
    """Calls one thing after the other."""

    def __init__(self, load: Load, number: int) -> None:
        self._load = load
        self._number = number

    def run(self) -> None:
        """Turn after turn, until the load is over."""
        turns = itertools.cycle((self._image, self._batch, self._task, self._upload, self._image, self._refused_batch))
        try:
            for turn, make in enumerate(turns):
                if self._load.over.is_set():
                    return
                make(f"soak {self._number} {turn}")
                with self._load.lock:
                    self._load.kinds[make.__name__.strip("_").replace("_", " ")] += 1
                self._load.over.wait(PAUSE_SECONDS)
        except (Gone, TypeError, KeyError, ValueError) as error:
            with self._load.lock:
                self._load.tally.failed(f"caller {self._number}: {error!r}")

    def _image(self, prompt: str) -> None:
        task_id = self._load.tool("generate_image", prompt=prompt, request_id=prompt.replace(" ", "-"))["task_id"]
        self._load.ended(self._load.tool("wait_for_image", task_id=task_id, timeout_seconds=WAIT_SECONDS))
        self._load.tool("get_task", task_id=task_id)
        self._load.tool("view_image", task_id=task_id, max_side=256)
        self._load.tool("browse_images", search=prompt)

    def _batch(self, prompt: str) -> None:
        chosen = 1 + int(prompt.rpartition(" ")[2]) // 6 % BATCH
        self._load.submits[prompt] = chosen
        answer = {"action": "accept", "content": {"count": chosen}}
        made = self._load.answered({"prompt": prompt, "count": BATCH}, answer)
        self._load.checked(made, "an approved batch", ok=not made.get("isError"))
        task_id = made["structuredContent"]["task_id"]
        waited = self._load.tool("wait_for_image", task_id=task_id, timeout_seconds=WAIT_SECONDS)
        self._load.checked(waited, "a batch", ok=len(waited["images"]) == chosen)
        self._load.ended(waited)

    def _refused_batch(self, prompt: str) -> None:
        self._load.submits[prompt] = 0
        refused = self._load.answered({"prompt": prompt, "count": BATCH}, {"action": "decline"})
        self._load.checked(refused, "a refused batch", ok=bool(refused.get("isError")))

    def _task(self, prompt: str) -> None:
        server, call = self._load.server, {"name": "generate_image", "arguments": {"prompt": prompt}}
        task = server.result("tools/call", **call, _meta=WITH_TASKS)
        self._load.checked(task, "a task", ok=task["resultType"] == "task")
        named = {"taskId": task["taskId"], "_meta": WITH_TASKS}
        server.result("tasks/cancel", **named)
        until = time.monotonic() + WAIT_SECONDS
        while task["status"] == "working" and time.monotonic() < until:
            time.sleep(min(task["pollIntervalMs"] / 1_000, IMAGE_SECONDS))
            task = server.result("tasks/get", **named)
        self._load.checked(task, "the end of a task", ok=task["status"] == "completed")
        self._load.ended(task["result"]["structuredContent"])

    def _upload(self, prompt: str) -> None:
        opened = self._load.tool("add_reference", purpose=prompt)
        path = opened["upload_url"].partition(self._load.server.host)[2]
        sent = self._load.server.request("POST", path, self._load.photo, Content_Type="multipart/form-data; boundary=x")
        answer = self._load.server.ask(sent)
        self._load.checked({"answer": answer[:600]}, "an upload", ok=b" 200 " in answer.partition(b"\r\n")[0])
        [reference] = self._load.tool("add_reference", upload_id=opened["upload_id"])["references"]
        made = self._load.tool(
            "generate_image", prompt=prompt, images=[reference["resource_uri"]], wait_seconds=WAIT_SECONDS
        )
        self._load.ended(made)


def soak(folder: Path, seconds: float) -> Tally:
    """Each caller in turn makes an image, a batch that a person confirms or not, a task, and an edit of an upload."""
    tally = Tally("soak")
    if sys.platform != "linux":
        return tally  # what a process takes is read from /proc
    port = unused_port()
    with sandbox(seconds=IMAGE_SECONDS) as served:
        environment = api(
            served.url,
            NANO_BANANA_PUBLIC_URL=f"http://127.0.0.1:{port}",
            NANO_BANANA_CONFIRM=CONFIRM_CREDITS,
            NANO_BANANA_UPLOADS_PER_DAY=0,
        )
        with Http(folder=folder, port=port, **environment) as server:
            load = Load(tally, server)
            _learn_the_price(load)
            callers = [threading.Thread(target=Caller(load, number).run) for number in range(CALLERS)]
            for item in callers:
                item.start()
            samples = [sampled(server.process.pid)]
            until = time.monotonic() + seconds
            while time.monotonic() < until and server.alive:
                load.over.wait(SAMPLE_SECONDS)
                samples.append(sampled(server.process.pid))
            load.over.set()
            for item in callers:
                item.join()
            if why := server.unforeseen:
                tally.failed(why)
        account(tally, served, folder)
        for prompt, approved in load.submits.items():
            if (submits := served.stats.submits_by_prompt[prompt]) != approved:
                kind = "double" if submits > approved > 0 else "wrong"
                tally.failed(f"{submits} submits for {prompt}, of which a person approved {approved}", kind)
        tally.figures["callbacks"] = served.stats.callbacks_sent
        tally.figures["queries a picture"] = round(served.stats.queries / max(1, len(served.tasks)), 2)
    tally.figures["turns"] = dict(load.kinds)
    _judge(tally, samples, load.done)
    return tally


def _learn_the_price(load: Load) -> None:
    """An unknown price is asked about: a person approves one image."""
    made = load.answered({"prompt": "the first", "wait_seconds": WAIT_SECONDS}, {"action": "accept"})
    load.ended(made["structuredContent"])


def _judge(tally: Tally, samples: list[Sample], done: Counter[str]) -> None:
    warm, rest = samples[: int(len(samples) * WARM_UP_SHARE)], samples[int(len(samples) * WARM_UP_SHARE) :]
    quarter = max(1, len(rest) // 4)
    begin, end = (statistics.median(item.memory for item in part) for part in (rest[:quarter], rest[-quarter:]))
    growth = (end - begin) / 1e6
    seconds = samples[-1].at - samples[0].at
    files = max(item.files for item in warm), max(item.files for item in rest)
    threads = max(item.threads for item in warm), max(item.threads for item in rest)
    tally.figures |= {
        "images": dict(done),
        "seconds": round(seconds),
        "memory MB at the start, after warm-up, at the end": [
            round(item / 1e6, 1) for item in (samples[0].memory, begin, end)
        ],
        "open files, warm-up and after": list(files),
        "threads, warm-up and after": list(threads),
        "CPU % of one core": round(100 * (samples[-1].cpu - samples[0].cpu) / seconds),
    }
    if growth > MAX_GROWTH_MEGABYTES:
        tally.failed(f"memory grows by {growth:.1f} MB", "wrong")
    if seconds > MIN_JUDGED_SECONDS:
        medians = window_medians(rest)
        tally.figures["memory MB by window after warm-up"] = [round(item / 1e6, 1) for item in medians]
        if steady := steady_growth(medians):
            tally.failed(f"memory grows steadily, by {steady / 1e6:.1f} MB: {medians}", "wrong")
    if files[1] > files[0] + MAX_MORE_FILES:
        tally.failed(f"open files grow: {files}", "wrong")
    if threads[1] > threads[0] + MAX_MORE_THREADS:
        tally.failed(f"threads grow: {threads}", "wrong")
    if set(done) - {"success"}:
        tally.failed(f"not all images arrived: {dict(done)}", "wrong")
