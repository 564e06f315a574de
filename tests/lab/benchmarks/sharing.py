"""How polling and callbacks share the work, on a virtual clock, with the server's own classes on a simulated API.

A fresh server each time: nothing is known of latencies, or of callbacks, when its first picture is asked for.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import anyio
import trio
import trio.testing

from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.schemas import SubmitRequest, TaskSnapshot
from nano_banana_mcp.ledger.base import MemoryLedger
from nano_banana_mcp.service.generation_service import GenerationService
from tests.lab.benchmarks.detection import MEDIANS, latencies
from tests.lab.benchmarks.figures import Row, Trade

IMAGES = 100
ROUND_TRIP = 0.25
SUBMIT_SECONDS = 0.02
LOST = {0: "webhook", 100: "1 % lost", 10: "10 % lost", 1: "all lost"}
"""One callback in so many."""

TARGET_LAG_SECONDS = 0.05
TARGET_QUERIES = 1.2
TARGET_LAG_WITH_FEW_LOST_SECONDS = 2.0
TARGET_QUERIES_WITH_FEW_LOST = 3.0
TARGET_LAG_WITH_SOME_LOST_SECONDS = 5.0
TARGET_RATIO_WITH_ALL_LOST = 1.1


@dataclass(frozen=True)
class Noticed:
    """Seconds from each picture's end until whoever waits for it knows, and queries a task."""

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
        self.service: GenerationService
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
        images = ("https://e.org/x.png",) if done else ()
        return TaskSnapshot(task_id=task_id, status="success" if done else "in_progress", image_sources=images)

    async def _call_back(self, address: str, task_id: str, seconds: float) -> None:
        await anyio.sleep(seconds + 0.02)
        assert await self.service.refresher.called_back(address, task_id)

    async def settled(self) -> None:
        """As the client's."""

    async def aclose(self) -> None:
        """As the client's."""


def simulate(latencies: list[float], lost: list[bool] | None, *, at_once: bool, trip: float = ROUND_TRIP) -> Noticed:
    """Make pictures with a fresh server.

    Args:
        lost: Which callbacks are lost; None without a webhook.
        at_once: Ask for all at the same time, instead of one after another.
    """

    async def run() -> Noticed:
        api = _Api(latencies, lost or [True] * len(latencies), trip)
        lags: list[float] = []
        async with anyio.create_task_group() as api.tasks:
            async with GenerationService.open(
                cast(DefapiClient, api),
                MemoryLedger(),
                default_model="m",
                api="a",
                callback_for=None if lost is None else lambda generation_id: generation_id,
                now=anyio.current_time,
            ) as api.service:

                async def one() -> None:
                    made = await api.service.generate(SubmitRequest(model="m", prompt="p"))
                    task_id = made.generation.task_id
                    assert task_id is not None
                    waited = await api.service.wait(task_id, 3_600.0)
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
        return Noticed(tuple(lags), api.queries / len(latencies))

    result: Noticed = trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    return result


def rows(quick: bool) -> Iterator[Row | Trade]:
    """One hundred pictures of a fresh server, at once and one by one."""
    for at_once in (True,) if quick else (True, False):
        for median in MEDIANS[:1] if quick else MEDIANS:
            seconds = latencies(median, IMAGES, seed=3)
            found = {"polling alone": simulate(seconds, None, at_once=at_once)}
            for each, name in LOST.items():
                lost = [each > 0 and number % each == each // 2 for number in range(IMAGES)]
                found[name] = simulate(seconds, lost, at_once=at_once)
            yield from (
                Trade(median, name, at_once, False, one.lag, one.p95, one.queries) for name, one in found.items()
            )
            yield from promises(f"{median:g} s, {'at once' if at_once else 'one by one'}", found, loopback=False)


def promises(which: str, found: Mapping[str, Noticed], others: str = "", *, loopback: bool) -> Iterator[Row]:
    """The rows of one workload.

    Args:
        others: What else the lags are compared to.
        loopback: Whether the promise of so many milliseconds holds, which is for no longer ways than loopback's.
    """
    alone = found["polling alone"]
    lags, queries = f"polling alone: {alone.p95:.2f} s{others}", f"polling alone: {alone.queries:.2f}"
    if loopback:
        lag = found["webhook"].p95 * 1000
        yield Row(f"{which}, webhook: p95 lag", lag, "ms", lags, target=TARGET_LAG_SECONDS * 1000)
    yield Row(f"{which}, webhook: queries a task", found["webhook"].queries, "", queries, target=TARGET_QUERIES)
    if few := found.get("1 % lost"):
        yield Row(f"{which}, 1 % lost: p95 lag", few.p95, "s", lags, target=TARGET_LAG_WITH_FEW_LOST_SECONDS)
        what = f"{which}, 1 % lost: queries a task"
        yield Row(what, few.queries, "", queries, target=TARGET_QUERIES_WITH_FEW_LOST)
    some, none = found["10 % lost"], found["all lost"]
    yield Row(f"{which}, 10 % lost: p95 lag", some.p95, "s", lags, target=TARGET_LAG_WITH_SOME_LOST_SECONDS)
    yield Row(f"{which}, 10 % lost: queries a task", some.queries, "", queries)
    yield Row(
        f"{which}, all lost: mean lag against polling alone",
        none.lag / alone.lag,
        "×",
        f"its {alone.lag:.2f} s{others}",
        target=TARGET_RATIO_WITH_ALL_LOST,
    )
    yield Row(f"{which}, all lost: queries a task", none.queries, "", queries)
