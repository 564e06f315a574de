"""The promises about noticing the end of a task, with and without callbacks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.lab.benchmarks.figures import Row

LOST = {0: "webhook", 100: "1 % lost", 10: "10 % lost", 1: "all lost"}
"""Names of the scenarios by how many callbacks there are to one that is lost; 0 if none is."""

TARGET_LAG_SECONDS = 0.05
TARGET_LAG_WITH_SOME_LOST_SECONDS = 8.0
TARGET_LAG_AT_ONCE_WITH_SOME_LOST_SECONDS = 14.0
TARGET_RATIO_WITH_ALL_LOST = 1.1
TARGET_MEAN_LAG_WITHOUT_WEBHOOK_SECONDS = 2.6


@dataclass(frozen=True)
class Noticed:
    """Seconds from each image's end until its waiter is notified, and queries a task."""

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


def promises(which: str, figures: Mapping[str, Noticed], others: str = "", *, at_once: bool) -> Iterator[Row]:
    """The rows of one workload.

    Args:
        others: What else the lags are compared to.
        at_once: Whether all images were waited for at the same time.
    """
    alone = figures["polling alone"]
    lags = f"polling alone: {alone.p95:.2f} s{others}"
    target = TARGET_MEAN_LAG_WITHOUT_WEBHOOK_SECONDS
    yield Row(f"{which}, polling alone: mean lag", alone.lag, "s", target=target)
    lag = figures["webhook"].p95 * 1000
    yield Row(f"{which}, webhook: p95 lag", lag, "ms", lags, target=TARGET_LAG_SECONDS * 1000)
    if few := figures.get("1 % lost"):
        yield Row(f"{which}, 1 % lost: p95 lag", few.p95, "s", lags)
    target = TARGET_LAG_AT_ONCE_WITH_SOME_LOST_SECONDS if at_once else TARGET_LAG_WITH_SOME_LOST_SECONDS
    some, none = figures["10 % lost"], figures["all lost"]
    yield Row(f"{which}, 10 % lost: p95 lag", some.p95, "s", lags, target=target)
    yield Row(
        f"{which}, all lost: mean lag against polling alone",
        none.lag / alone.lag,
        "×",
        f"its {alone.lag:.2f} s{others}",
        target=TARGET_RATIO_WITH_ALL_LOST,
    )
