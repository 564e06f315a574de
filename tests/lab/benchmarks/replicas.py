"""Three replicas on one PostgreSQL: how soon a callback at one ends a wait at another, and what waiting costs."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from nano_banana_sandbox.config import SandboxConfig
from tests.lab.benchmarks.figures import Row
from tests.support.http_server import ServedProcess, make
from tests.support.postgres import NoPostgres, running
from tests.support.replicas import Replica, killed_under_load, lag, three

WARM_UP = 4
TAKEN_OVER_SECONDS = 30.0
TARGET_P95_MILLISECONDS = 50
TARGET_PROCESSOR_RATIO = 1.2
WAITS = 60


@dataclass(frozen=True)
class Measured:
    """Seconds from a picture's end to the answer of a wait, the median and the 95th percentile, for waits at the
    replica that is called back and at another; queries a task without callbacks, waited for at one replica and at all.
    """

    here: tuple[float, float]
    elsewhere: tuple[float, float]
    queries_of_one: float
    queries_of_three: float


async def measure(database: str, rounds: int) -> Measured:
    """``rounds`` pictures for each figure."""
    lags: dict[bool, list[float]] = {False: [], True: []}
    async with three(database, SandboxConfig(seconds=1.0), processes=3) as (sandbox, [other, called_back, _]):
        for number in range(-WARM_UP, 2 * rounds):
            elsewhere = number % 2 == 0
            replica = other if elsewhere else called_back
            await replica.wait(await make(replica.client))
            if number >= 0:
                lags[elsewhere].append(lag(sandbox.tasks[-1]))
    return Measured(
        _summary(lags[False]),
        _summary(lags[True]),
        await _queries(database, rounds, 1),
        await _queries(database, rounds, 3),
    )


async def _queries(database: str, tasks: int, waited_for_at: int) -> float:
    async with three(database, SandboxConfig(seconds=5.0, directives="callback=lost"), processes=3) as (
        sandbox,
        replicas,
    ):
        made = [await make(replicas[0].client) for _ in range(tasks)]
        async with anyio.create_task_group() as group:
            for replica in replicas[:waited_for_at]:
                for task_id in made:
                    group.start_soon(replica.wait, task_id)
        return sandbox.stats.queries / tasks


async def processor_seconds(database: str, rounds: int) -> tuple[list[float], list[float]]:
    """Processor seconds of the servers for :data:`WAITS` submits and waits at once, in turn at one and at all three.

    All callbacks reach the one, which is the second. The first round is not counted.
    """
    of_one: list[float] = []
    of_three: list[float] = []
    async with three(database, SandboxConfig(seconds=4.0, credit=1e6), processes=3) as (_, replicas):
        for number in range(rounds + 1):
            for chosen, durations in ((replicas[1:2], of_one), (replicas, of_three)):
                before = sum(map(_processor_seconds, chosen))
                async with anyio.create_task_group() as group:
                    for index in range(WAITS):
                        group.start_soon(_make_and_wait, chosen, index)
                if number:
                    durations.append(sum(map(_processor_seconds, chosen)) - before)
    return of_one, of_three


async def _make_and_wait(replicas: Sequence[Replica], index: int) -> None:
    replica = replicas[index % len(replicas)]
    done = await replica.wait(await make(replica.client, f"cat {index}"))
    assert done["status"] == "success", done


def _processor_seconds(replica: Replica) -> float:
    """What the process has had so far, from /proc."""
    assert isinstance(replica.server, ServedProcess)
    fields = Path(f"/proc/{replica.server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _summary(lags: list[float]) -> tuple[float, float]:
    return statistics.median(lags), statistics.quantiles(lags, n=20)[-1]


def rows(quick: bool) -> Iterator[Row]:
    """Wake-ups between replicas, queries, and one that is killed."""
    try:
        with running() as cluster:
            measured = anyio.run(measure, cluster.create(), 5 if quick else 20)
            processor = (
                anyio.run(processor_seconds, cluster.create(), 1 if quick else 5) if sys.platform == "linux" else None
            )
            killed = None if quick else anyio.run(killed_under_load, cluster, cluster.create())
    except NoPostgres as error:
        yield Row("three replicas", None, spread=str(error))
        return
    (here, here_p95), (elsewhere, elsewhere_p95) = measured.here, measured.elsewhere
    p95 = f"p95 {elsewhere_p95 * 1000:.0f} ms, at the same {here_p95 * 1000:.0f} ms"
    compared_to = f"at the same replica: {here * 1000:.1f} ms"
    yield Row("a callback wakes a wait at another replica after", elsewhere * 1000, "ms", compared_to, spread=p95)
    milliseconds = elsewhere_p95 * 1000
    yield Row("a callback wakes a wait at another replica: p95", milliseconds, "ms", target=TARGET_P95_MILLISECONDS)
    yield _processor_row(processor)
    yield Row(
        "queries a task that is waited for at all three, without callbacks",
        measured.queries_of_three,
        compared_to=f"waited for at one: {measured.queries_of_one:.2f}",
    )
    if killed is not None:
        twice = sum(count > 1 for count in killed.submits_by_prompt.values())
        lost = len(set(killed.made) - set(killed.finished))
        slowest = max(killed.lags)
        target = TAKEN_OVER_SECONDS
        yield Row("one of three killed under load: longest lag", slowest, "s", target=target)
        of = f"of {len(killed.made)} tasks"
        yield Row("one of three killed under load: posted twice", twice, "", of, "=", 0)
        yield Row("one of three killed under load: lost", lost, "", of, "=", 0)


def _processor_row(measured: tuple[list[float], list[float]] | None) -> Row:
    what = "processor seconds of three replicas a wait, against one replica's"
    if measured is None:
        return Row(what, None, "×", target=TARGET_PROCESSOR_RATIO, spread="there is no /proc")
    of_one, of_three = measured
    pairs = [three / one for one, three in zip(of_one, of_three, strict=True)]
    return Row(
        what,
        statistics.median(of_three) / statistics.median(of_one),
        "×",
        f"its {statistics.median(of_one) / WAITS * 1000:.1f} ms",
        target=TARGET_PROCESSOR_RATIO,
        spread=f"pairs {min(pairs):.2f}-{max(pairs):.2f}",
    )
