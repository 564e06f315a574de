"""How soon a finished picture is noticed, and for how many queries: simulated on a virtual clock.

Latencies are lognormal (sigma 0.5) with medians of 12, 45 and 180 s; a query's round trip takes 0.25 s and finds what
is true in its middle. The bound is the exact optimum for a known distribution, found by dynamic programming over
all schedules on a fine grid: no rule can have less lag for as many queries.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from nano_banana_mcp.generations import schedule
from nano_banana_mcp.generations.schedule import Pace

MEDIANS = (12.0, 45.0, 180.0)
SIGMA = 0.5
ROUND_TRIP = 0.25
PICTURES = 5_000

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


def ours(history: list[float]) -> NextQuery:
    """Ask as the server does, with so much history."""
    pace = Pace(history)
    return lambda elapsed, queries: pace.interval(elapsed) if queries else pace.first()


def simulate(next_query: NextQuery, median: float) -> Detection:
    """Wait for many pictures."""
    lags, total = [], 0
    for latency in latencies(median, PICTURES, seed=1):
        at, queries = next_query(0.0, 0), 1
        while at + ROUND_TRIP / 2 < latency:
            answered = at + ROUND_TRIP
            at = answered + next_query(answered, queries)
            queries += 1
        lags.append(at + ROUND_TRIP - latency)
        total += queries
    return Detection(statistics.fmean(lags), sorted(lags)[int(0.95 * len(lags))], total / PICTURES)


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


def report() -> list[str]:
    """The comparison, line by line."""
    lines = [f"{'median':>6}  {'asked':34} {'mean lag':>8} {'p95 lag':>8} {'queries':>8}"]
    for median in MEDIANS:
        rules = [(f"fixed {seconds} s", fixed(seconds)) for seconds in (2, 5, 10)]
        rules += [("ours, nothing known", ours([])), ("ours, 20 seen", ours(latencies(median, 20, seed=7)))]
        for name, rule in rules:
            found = simulate(rule, median)
            lines.append(f"{median:4.0f} s  {name:34} {found.lag:8.2f} {found.p95:8.2f} {found.queries:8.2f}")
        for cost in (schedule.QUERY_COST_SECONDS / 2, schedule.QUERY_COST_SECONDS, 2 * schedule.QUERY_COST_SECONDS):
            lag, queries = optimum(median, cost)
            lines.append(f"{median:4.0f} s  {f'bound, a query worth {cost:g} s':34} {lag:8.2f} {'':8} {queries:8.2f}")
    return lines
