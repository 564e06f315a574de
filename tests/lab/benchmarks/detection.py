"""How soon a finished picture is noticed, and for how many queries: simulated on a virtual clock.

Latencies are lognormal (sigma 0.5) with medians of 12, 45 and 180 s; a query's round trip takes 0.25 s and finds what
is true in its middle. The bound is the exact optimum for a known distribution, found by dynamic programming over
all schedules on a fine grid: no rule can have less lag for as many queries.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

from tests.lab.benchmarks.figures import BOUND, POLLING, Row, Trade

MEDIANS = (12.0, 45.0, 180.0)
SIGMA = 0.5
ROUND_TRIP = 0.25
IMAGES = 5_000
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
    """Seconds that pictures take."""
    dice = random.Random(seed)
    return [median * math.exp(dice.gauss(0, SIGMA)) for _ in range(count)]


def fixed(seconds: float) -> NextQuery:
    """Ask every so many seconds."""
    return lambda elapsed, queries: seconds


def ours(elapsed: float, queries: int) -> float:
    """Query as the server does: after 2 s, then every 10 % of the elapsed time, between 1 and 5 s."""
    return min(max(0.1 * elapsed, 1.0), 5.0) if queries else 2.0


def simulate(next_query: NextQuery, median: float) -> Detection:
    """Wait for many pictures."""
    lags, total = [], 0
    for latency in latencies(median, IMAGES, seed=1):
        at, queries = next_query(0.0, 0), 1
        while at + ROUND_TRIP / 2 < latency:
            answered = at + ROUND_TRIP
            at = answered + next_query(answered, queries)
            queries += 1
        lags.append(at + ROUND_TRIP - latency)
        total += queries
    return Detection(statistics.fmean(lags), sorted(lags)[int(0.95 * len(lags))], total / IMAGES)


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


def fewest_queries(median: float, lag: float) -> float:
    """How many queries even the optimum needs for that mean lag: on a straight line between two compromises."""
    curve = compromises(median)
    for (less_lag, more), (more_lag, fewer) in pairwise(curve):
        if less_lag <= lag <= more_lag:
            return more + (fewer - more) * (lag - less_lag) / (more_lag - less_lag)
    raise ValueError(f"no compromise has a lag of {lag} s")


def rows(quick: bool) -> Iterator[Row | Trade]:
    """Ours beside fixed intervals and the optimum."""
    for median in MEDIANS[:1] if quick else MEDIANS:
        others = {seconds: simulate(fixed(seconds), median) for seconds in FIXED_SECONDS}
        polling = simulate(ours, median)
        curve = compromises(median)
        yield from (_trade(median, f"fixed {seconds} s", found) for seconds, found in others.items())
        yield _trade(median, POLLING, polling)
        yield from (Trade(median, BOUND, None, False, lag, None, queries) for lag, queries in curve)

        lags = "fixed " + ", ".join(f"{seconds} s: {found.lag:.2f}" for seconds, found in others.items())
        queries = "fixed " + ", ".join(f"{seconds} s: {found.queries:.1f}" for seconds, found in others.items())
        yield Row(f"{median:g} s, polling: mean lag", polling.lag, "s", lags)
        yield Row(f"{median:g} s, polling: queries a task", polling.queries, "", queries)
        cost = QUERY_COST_SECONDS
        bound_lag, bound_queries = optimum(median, cost)
        yield Row(
            f"{median:g} s, polling: lag + {cost:g} s × queries, against the optimum",
            (polling.lag + cost * polling.queries) / (bound_lag + cost * bound_queries),
            "×",
            f"its lag {bound_lag:.2f} s, queries {bound_queries:.1f}",
        )
        yield Row(
            f"{median:g} s: queries that even the optimum needs for the lag of fixed 2 s",
            fewest_queries(median, others[2].lag),
            "",
            f"half of fixed 2 s: {others[2].queries / 2:.1f}",
        )


def _trade(median: float, asked: str, found: Detection) -> Trade:
    return Trade(median, asked, None, False, found.lag, found.p95, found.queries)
