"""Three replicas on one PostgreSQL: how soon a wait at one hears of a callback at another, and what waiting costs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import anyio

from nano_banana_sandbox.config import SandboxConfig
from tests.lab.benchmarks.figures import Row
from tests.support.http_server import make
from tests.support.postgres import NoPostgres, running
from tests.support.replicas import killed_under_load, lag, three

WARM_UP = 4
TAKEN_OVER_SECONDS = 30.0
TARGET_P95_MILLISECONDS = 50


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


def _summary(lags: list[float]) -> tuple[float, float]:
    return statistics.median(lags), statistics.quantiles(lags, n=20)[-1]


def rows(quick: bool) -> Iterator[Row]:
    """Wake-ups between replicas, queries, and one that is killed."""
    try:
        with running() as cluster:
            measured = anyio.run(measure, cluster.create(), 5 if quick else 20)
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
    yield Row(
        "queries a task that is waited for at all three, without callbacks",
        measured.queries_of_three,
        compared_to=f"waited for at one: {measured.queries_of_one:.2f}",
    )
    if killed is not None:
        twice = sum(count > 1 for count in killed.submits_by_prompt.values())
        lost = len(set(killed.made) - set(killed.kept))
        slowest = max(killed.lags)
        target = TAKEN_OVER_SECONDS
        yield Row("one of three killed under load: longest lag", slowest, "s", target=target)
        of = f"of {len(killed.made)} tasks"
        yield Row("one of three killed under load: posted twice", twice, "", of, "=", 0)
        yield Row("one of three killed under load: lost", lost, "", of, "=", 0)
