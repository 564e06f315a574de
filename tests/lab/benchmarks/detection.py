"""Lag until a finished image is noticed, and queries a task: simulated on a virtual clock.

Latencies are lognormal (sigma 0.5) with medians of 12, 45 and 180 s; a query's round trip takes 0.25 s and finds what
is true in its middle. The bound is the exact optimum for a known distribution, found by dynamic programming over
all schedules on a fine grid: no rule can have less lag for as many queries.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

from nano_banana_mcp.tracking.callbacks import MAX_MISSED_IN_A_ROW
from nano_banana_mcp.tracking.schedule import Schedule
from tests.lab.benchmarks.concurrent_waits import ROUND_TRIP, SIGMA, lags_of_concurrent_waits
from tests.lab.benchmarks.figures import BOUND, POLLING, Row, Trade
from tests.lab.benchmarks.noticing import (
    LOST,
    TARGET_LAG_AT_ONCE_WITH_SOME_LOST_SECONDS,
    TARGET_LAG_WITH_SOME_LOST_SECONDS,
    TARGET_MEAN_LAG_WITHOUT_WEBHOOK_SECONDS,
    TARGET_RATIO_WITH_ALL_LOST,
)

MEDIANS = (12.0, 45.0, 180.0)
IMAGES = 5_000
CROWDS = 10
"""How many times a hundred images are waited for at once."""

FIXED_SECONDS = (2, 5, 10)
QUERY_COST_SECONDS = 0.2
"""Seconds of lag that one query is worth, for the comparison with the optimum."""

NextQuery = Callable[[float, int], float]
"""Seconds to the next query, given the seconds since the submit and the number of queries so far."""


@dataclass(frozen=True)
class Detection:
    """Mean and 95th percentile of the lag in seconds, and queries a task."""

    lag: float
    p95: float
    queries: float


def latencies(median: float, count: int, seed: int) -> list[float]:
    """Seconds that images take."""
    dice = random.Random(seed)
    return [median * math.exp(dice.gauss(0, SIGMA)) for _ in range(count)]


def fixed(seconds: float) -> NextQuery:
    """Query every ``seconds``."""
    return lambda elapsed, queries: seconds


def polling(schedule: Schedule | None = None) -> NextQuery:
    """Query by the server's own schedule, without callbacks."""
    chosen = schedule or Schedule()
    return lambda elapsed, queries: chosen.pause(elapsed, 0.0 if queries else None)


def with_safety(dice: random.Random, schedule: Schedule | None = None) -> NextQuery:
    """Query by the server's own schedule while a trusted callback is expected."""
    chosen = schedule or Schedule()

    def pause(elapsed: float, queries: int) -> float:
        return chosen.pause(elapsed, 0.0 if queries else None, expects_callback=True, jitter=dice.uniform(-1, 1))

    return pause


def wait(next_query: NextQuery, latency: float, end: float = math.inf) -> tuple[float, int]:
    """Query until the image is found finished, or until ``end``.

    Returns:
        The lag in seconds (infinite if ``end`` came first), and the number of queries.
    """
    at, queries = next_query(0.0, 0), 1
    while at + ROUND_TRIP / 2 < latency:
        answered = at + ROUND_TRIP
        at = answered + next_query(answered, queries)
        if at >= end:
            return math.inf, queries
        queries += 1
    return (at + ROUND_TRIP - latency, queries) if at < end else (math.inf, queries - 1)


def simulate(next_query: NextQuery, median: float) -> Detection:
    """Wait for many images, without callbacks."""
    return _summary([wait(next_query, latency) for latency in latencies(median, IMAGES, seed=1)])


def simulate_callbacks(median: float, lost: int) -> Detection:
    """Wait for many images, one after another, with callbacks.

    Args:
        lost: One callback in ``lost`` does not arrive; 0 if all arrive.
    """
    dice = random.Random(2)
    polled, guarded = polling(), with_safety(dice)
    has_received, missed = False, 0
    results: list[tuple[float, int]] = []
    for latency in latencies(median, IMAGES, seed=1):
        is_trusted = has_received and missed < MAX_MISSED_IN_A_ROW
        is_lost = lost > 0 and dice.randrange(lost) == 0
        lag, queries = wait(guarded if is_trusted else polled, latency, math.inf if is_lost else latency)
        if is_lost:
            missed += 1
        else:
            has_received, missed = True, 0
            lag, queries = ROUND_TRIP, queries + 1  # the callback is confirmed by one query
        results.append((lag, queries))
    return _summary(results)


def _summary(results: list[tuple[float, int]]) -> Detection:
    lags = [lag for lag, _ in results]
    queries = statistics.fmean(queries for _, queries in results)
    return Detection(statistics.fmean(lags), _p95(lags), queries)


def _p95(lags: list[float]) -> float:
    return sorted(lags)[int(0.95 * len(lags))]


def optimum(median: float, cost: float) -> tuple[float, float]:
    """Least lag + ``cost`` × queries over all schedules, as (mean lag, mean queries)."""
    normal = NormalDist()
    step = median / 300
    last = int(median * math.exp(3.9 * SIGMA) / step)
    done = [0.0] + [normal.cdf(math.log(n * step / median) / SIGMA) for n in range(1, last + 1)]
    area = [0.0]
    for n in range(1, last + 1):
        area.append(area[-1] + (done[n - 1] + done[n]) / 2 * step)
    least = max(1, round(ROUND_TRIP / step))
    value, lag, queries = [0.0] * (last + 1), [0.0] * (last + 1), [0.0] * (last + 1)
    for n in range(last - 1, -1, -1):
        best = math.inf
        for to in range(min(n + least, last), last + 1):
            waited = area[to] - area[n] - done[n] * (to - n) * step
            total = cost * (1 - done[n]) + waited + value[to]
            if total < best:
                best, value[n], lag[n], queries[n] = total, total, waited + lag[to], 1 - done[n] + queries[to]
            elif total > 1.3 * best:
                break
    return lag[0] + ROUND_TRIP / 2, queries[0]


def compromises(median: float) -> list[tuple[float, float]]:
    """The optimum at rising costs of a query, as (mean lag, mean queries): no schedule lies below this curve."""
    return [optimum(median, QUERY_COST_SECONDS * 10 ** (step / 4)) for step in range(-8, 9)]


def fewest_queries(curve: Iterable[tuple[float, float]], lag: float) -> float:
    """How many queries even the optimum needs for that mean lag: on a straight line between two compromises."""
    for (less_lag, more), (more_lag, fewer) in pairwise(curve):
        if less_lag <= lag <= more_lag:
            return more + (fewer - more) * (lag - less_lag) / (more_lag - less_lag)
    raise ValueError(f"no compromise has a lag of {lag} s")


def rows(quick: bool) -> Iterator[Row | Trade]:
    """Our schedule beside fixed intervals and the optimum."""
    for median in MEDIANS[:1] if quick else MEDIANS:
        others = {seconds: simulate(fixed(seconds), median) for seconds in FIXED_SECONDS}
        alone = simulate(polling(), median)
        called = {name: simulate_callbacks(median, lost) for lost, name in LOST.items()}
        curve = compromises(median)
        yield from (_trade(median, f"fixed {seconds} s", detection) for seconds, detection in others.items())
        yield _trade(median, POLLING, alone)
        yield from (_trade(median, name, detection) for name, detection in called.items())
        yield from (Trade(median, BOUND, None, False, lag, None, queries) for lag, queries in curve)

        lags = "fixed " + ", ".join(f"{seconds} s: {detection.lag:.2f}" for seconds, detection in others.items())
        target = TARGET_MEAN_LAG_WITHOUT_WEBHOOK_SECONDS
        yield Row(f"{median:g} s, polling: mean lag", alone.lag, "s", lags, target=target)
        cost = QUERY_COST_SECONDS
        yield Row(
            f"{median:g} s, one by one, 10 % of callbacks lost: p95 lag",
            called["10 % lost"].p95,
            "s",
            f"polling: {alone.p95:.2f} s",
            target=TARGET_LAG_WITH_SOME_LOST_SECONDS,
        )
        rounds = [lags_of_concurrent_waits(median, lost=10, seed=seed) for seed in range(2 if quick else CROWDS)]
        of_rounds = [_p95(lags) for lags in rounds]
        yield Row(
            f"{median:g} s, a hundred at once, 10 % of callbacks lost: p95 lag",
            _p95([lag for lags in rounds for lag in lags]),
            "s",
            target=TARGET_LAG_AT_ONCE_WITH_SOME_LOST_SECONDS,
            spread=f"{len(rounds)} hundreds, {min(of_rounds):.2f}-{max(of_rounds):.2f} s",
        )
        yield Row(
            f"{median:g} s, all callbacks lost: mean lag against polling",
            called["all lost"].lag / alone.lag,
            "×",
            f"its {alone.lag:.2f} s",
            target=TARGET_RATIO_WITH_ALL_LOST,
        )
        bound_lag, bound_queries = optimum(median, cost)
        yield Row(
            f"{median:g} s, polling: lag + {cost:g} s × queries, against the optimum",
            (alone.lag + cost * alone.queries) / (bound_lag + cost * bound_queries),
            "×",
            f"its lag {bound_lag:.2f} s, queries {bound_queries:.1f}",
        )


def _trade(median: float, queries: str, detection: Detection) -> Trade:
    return Trade(median, queries, None, False, detection.lag, detection.p95, detection.queries)
