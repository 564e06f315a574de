"""How polling and callbacks share the work, on a virtual clock, with the server's own classes on a simulated API.

A fresh server each time: nothing is known of latencies, or of callbacks, when its first picture is asked for.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any, cast

import anyio
import trio
import trio.testing

from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.wire import SubmitRequest, TaskSnapshot
from nano_banana_mcp.generations.ledger import MemoryLedger
from nano_banana_mcp.generations.studio import Studio
from tests.benchmarks.detection import MEDIANS, latencies

PICTURES = 100
ROUND_TRIP = 0.25
SUBMIT_SECONDS = 0.02


@dataclass(frozen=True)
class Shared:
    """Mean and 95th percentile of the lag in seconds, and queries a task."""

    lags: tuple[float, ...]
    queries: float

    @property
    def lag(self) -> float:
        """Mean, in seconds."""
        return statistics.fmean(self.lags)

    @property
    def p95(self) -> float:
        """The lag that 95 % do not exceed."""
        return sorted(self.lags)[math.ceil(0.95 * len(self.lags)) - 1]


class _Api:
    """Ends each task after its latency, and calls back unless that is lost."""

    def __init__(self, latencies: list[float], lost: list[bool], trip: float) -> None:
        self._left = list(zip(latencies, lost, strict=True))
        self._trip = trip
        self._one_at_a_time = anyio.Lock()
        self.ends: dict[str, float] = {}
        self.queries = 0
        self.studio: Studio
        self.tasks: Any = None

    async def submit(self, request: SubmitRequest, journal: Any, *, key: Any = None) -> str:
        await journal.before()
        async with self._one_at_a_time:
            await anyio.sleep(SUBMIT_SECONDS)
        number = len(self.ends)
        seconds, lost = self._left[number]
        task_id = f"ta{number}"
        self.ends[task_id] = anyio.current_time() + seconds
        await journal.after(task_id)
        if request.callback_url is not None and not lost:
            self.tasks.start_soon(self._call_back, request.callback_url, task_id, seconds)
        return task_id

    async def query(self, task_id: str, *, key: Any = None) -> TaskSnapshot:
        self.queries += 1
        await anyio.sleep(self._trip / 2)
        done = anyio.current_time() >= self.ends[task_id]
        await anyio.sleep(self._trip / 2)
        pictures = ("https://e.org/x.png",) if done else ()
        return TaskSnapshot(task_id=task_id, status="success" if done else "in_progress", pictures=pictures)

    async def _call_back(self, address: str, task_id: str, seconds: float) -> None:
        await anyio.sleep(seconds + 0.02)
        assert await self.studio.inquiry.called_back(address, task_id)

    async def settled(self) -> None:
        """As the client's."""

    async def aclose(self) -> None:
        """As the client's."""


def simulate(latencies: list[float], lost: list[bool] | None, *, at_once: bool, trip: float = ROUND_TRIP) -> Shared:
    """Make pictures with a fresh server.

    Args:
        lost: Which callbacks are lost; None without a webhook.
        at_once: Ask for all at the same time, instead of one after another.
    """

    async def run() -> Shared:
        api = _Api(latencies, lost or [True] * len(latencies), trip)
        lags: list[float] = []
        async with anyio.create_task_group() as api.tasks:
            async with Studio.open(
                cast(DefapiClient, api),
                MemoryLedger(),
                default_model="m",
                api="a",
                callback_for=None if lost is None else lambda intent_id: intent_id,
                now=anyio.current_time,
            ) as api.studio:

                async def one() -> None:
                    made = await api.studio.generate(SubmitRequest(model="m", prompt="p"))
                    task_id = made.generation.task_id
                    assert task_id is not None
                    waited = await api.studio.wait(task_id, 3_600.0)
                    assert waited.generation.finished
                    lags.append(anyio.current_time() - api.ends[task_id])

                async with anyio.create_task_group() as waits:
                    for _ in latencies:
                        if at_once:
                            waits.start_soon(one)
                        else:
                            await one()
                await anyio.sleep(1.0)
            api.tasks.cancel_scope.cancel()
        return Shared(tuple(lags), api.queries / len(latencies))

    result: Shared = trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    return result


def report() -> list[str]:
    """The comparison, line by line: lags and queries of one hundred pictures, at once and one by one."""
    lines = [f"{'median':>6}  {'asked':34} {'mean lag':>8} {'p95 lag':>8} {'queries':>8}"]
    for at_once in (True, False):
        for median in MEDIANS:
            seconds = latencies(median, PICTURES, seed=3)
            cases: list[tuple[str, list[bool] | None]] = [("polling alone", None)]
            for each, name in ((0, "webhook"), (100, "1 % lost"), (10, "10 % lost"), (1, "all lost")):
                cases.append((name, [each > 0 and number % each == each // 2 for number in range(PICTURES)]))
            for name, lost in cases:
                found = simulate(seconds, lost, at_once=at_once)
                what = f"{name}, {'at once' if at_once else 'one by one'}"
                lines.append(f"{median:4.0f} s  {what:34} {found.lag:8.2f} {found.p95:8.2f} {found.queries:8.2f}")
    return lines
