"""When to ask the API for a task's state. Pure: seconds in, seconds out.

Asking is free but not unlimited, and a picture that nobody has noticed is of no use. The best moments follow from
how likely the picture is to come next: with a hazard rate h (the chance per second that it comes now, given that it
has not yet) and a query worth c seconds of lag, the interval sqrt(2c/h) is asymptotically the best inspection
schedule (Barlow, Hunter and Proschan, 1963). ``make bench`` shows it against the exact optimum and fixed intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

QUERY_COST_SECONDS = 0.2
"""What one query is worth in seconds of lag. Less asks more often: the bench shows the trade."""

FIRST_QUERY_SECONDS = 2.0
"""The first query of a model of which nothing is known yet."""

SHARE_OF_ELAPSED = 0.2
SHORTEST_INTERVAL_SECONDS = 1.0
LONGEST_INTERVAL_SECONDS = 5.0

FIRST_QUERY_CHANCE = 0.03
"""Of a model that is known, the first query comes when so large a share of its pictures is ready."""

SHORTEST_LEARNED_INTERVAL_SECONDS = 0.5
LONGEST_LEARNED_INTERVAL_SECONDS = 15.0
LONGEST_BACKOFF_SECONDS = 15.0

FIRST_SAFETY_QUERY_SECONDS = 10.0
SAFETY_CHANCE = 0.9
LONGEST_SAFETY_INTERVAL_SECONDS = 30.0

FEWEST_LATENCIES = 3

# Of any picture: 30-60 s is what the API's other clients expect. It also guards what was learned against a day on
# which everything is different.
_PRIOR_MEDIAN, _PRIOR_SIGMA = 30.0, 0.9
_PRIOR_SIGMA_WEIGHT, _TYPICAL_SIGMA = 3.0, 0.5
_MOST_TRUST = 0.9

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class _Lognormal:
    share: float
    median: float
    sigma: float

    def _z(self, seconds: float) -> float:
        return math.log(seconds / self.median) / self.sigma

    def done(self, seconds: float) -> float:
        return self.share * _NORMAL.cdf(self._z(seconds))

    def open(self, seconds: float) -> float:
        return self.share * _NORMAL.cdf(-self._z(seconds))

    def density(self, seconds: float) -> float:
        return self.share * _NORMAL.pdf(self._z(seconds)) / (self.sigma * seconds)


@dataclass(frozen=True)
class Pace:
    """When to ask, by the latencies seen so far.

    Args:
        latencies: Seconds from submit to success of the same model's latest pictures.
    """

    latencies: Sequence[float] = ()
    _parts: tuple[_Lognormal, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_parts", _fit(self.latencies))

    @property
    def learned(self) -> bool:
        """Whether enough was seen to go by it."""
        return len(self.latencies) >= FEWEST_LATENCIES

    def first(self) -> float:
        """Seconds from the submit to the first query."""
        if not self.learned:
            return FIRST_QUERY_SECONDS
        return max(SHORTEST_LEARNED_INTERVAL_SECONDS, self._quantile(FIRST_QUERY_CHANCE))

    def interval(self, elapsed: float) -> float:
        """Seconds to the next query after one that found the task open, ``elapsed`` seconds after the submit."""
        if not self.learned:
            return min(LONGEST_INTERVAL_SECONDS, max(SHORTEST_INTERVAL_SECONDS, SHARE_OF_ELAPSED * elapsed))
        seconds = SHORTEST_INTERVAL_SECONDS
        for _ in range(4):  # the hazard in the middle of the interval that it itself decides
            best = math.sqrt(2 * QUERY_COST_SECONDS / max(self._hazard(elapsed + seconds / 2), 1e-9))
            seconds = min(LONGEST_LEARNED_INTERVAL_SECONDS, max(SHORTEST_LEARNED_INTERVAL_SECONDS, best))
        return seconds

    def due_in(self, elapsed: float, since_last_query: float | None) -> float:
        """Seconds until the next query is due; 0 where it is due now.

        Args:
            elapsed: Seconds since the submit.
            since_last_query: Seconds since the task was last asked for; None if it never was.
        """
        if since_last_query is None:
            return max(0.0, self.first() - elapsed)
        return max(0.0, self.interval(max(0.0, elapsed - since_last_query)) - since_last_query)

    def _quantile(self, chance: float) -> float:
        low, high = 0.01, 100_000.0
        while high / low > 1.01:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self._done(middle) < chance else (low, middle)
        return low

    def _done(self, seconds: float) -> float:
        return sum(part.done(seconds) for part in self._parts)

    def _hazard(self, seconds: float) -> float:
        still_open = sum(part.open(seconds) for part in self._parts)
        return sum(part.density(seconds) for part in self._parts) / still_open if still_open > 1e-12 else 0.0


class SafetyPace(Pace):
    """When to ask for a task whose end a callback should tell: late and seldom, since it is only for the lost ones."""

    def first(self) -> float:
        """As :meth:`Pace.first`: when most of such pictures would be ready."""
        if not self.learned:
            return FIRST_SAFETY_QUERY_SECONDS
        return self._quantile(SAFETY_CHANCE) + SHORTEST_INTERVAL_SECONDS

    def interval(self, elapsed: float) -> float:
        """As :meth:`Pace.interval`: a quarter of the time waited so far."""
        return min(LONGEST_SAFETY_INTERVAL_SECONDS, max(2.0, 0.25 * elapsed))


def backoff(failures: int, retry_after: float | None) -> float:
    """Least seconds to the next query after ``failures`` failed ones in a row."""
    if failures == 0:
        return 0.0
    return max(min(LONGEST_BACKOFF_SECONDS, 2.0 ** (failures - 1)), retry_after or 0.0)


def _fit(latencies: Sequence[float]) -> tuple[_Lognormal, ...]:
    """A lognormal by what was seen, its spread drawn towards a typical one while little was, and the prior."""
    count = len(latencies)
    if count == 0:
        return (_Lognormal(1.0, _PRIOR_MEDIAN, _PRIOR_SIGMA),)
    logs = [math.log(max(seconds, 0.01)) for seconds in latencies]
    mean = sum(logs) / count
    squares = sum((each - mean) ** 2 for each in logs)
    weight = _PRIOR_SIGMA_WEIGHT
    sigma = math.sqrt((squares + weight * _TYPICAL_SIGMA**2) / (count + weight))
    trust = _MOST_TRUST * count / (count + 1)
    return (_Lognormal(trust, math.exp(mean), sigma), _Lognormal(1 - trust, _PRIOR_MEDIAN, _PRIOR_SIGMA))
