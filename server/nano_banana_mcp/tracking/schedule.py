"""When to ask the API for a task's state. Pure: seconds in, seconds out.

Asking is free but not unlimited, and a picture that nobody has noticed is of no use. The best moments follow from
how likely the picture is to come next: with a hazard rate h (the chance per second that it comes now, given that it
has not yet) and a query worth c seconds of lag, the interval sqrt(2c/h) is asymptotically the best inspection
schedule (Barlow, Hunter and Proschan, 1963). ``make bench`` shows it against the exact optimum and fixed intervals.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist

QUERY_COST_SECONDS = 0.2
"""What one query is worth in seconds of lag. Less asks more often: the bench shows the trade."""

FIRST_QUERY_SECONDS = 2.0
"""The first query of a model of which nothing is known yet."""

SHARE_OF_ELAPSED = 0.2
MIN_INTERVAL_SECONDS = 1.0
MAX_INTERVAL_SECONDS = 5.0

FIRST_QUERY_CHANCE = 0.03
"""Of a model that is known, the first query comes when so large a share of its pictures is ready."""

MIN_LEARNED_INTERVAL_SECONDS = 0.5
MAX_LEARNED_INTERVAL_SECONDS = 15.0
MAX_BACKOFF_SECONDS = 15.0

FIRST_SAFETY_CHANCE = 0.7
"""When so large a share of pictures is ready, a callback that has not come is looked after if a query can be spared,"""

SAFETY_CHANCE = 0.95
"""and when so large a share is, in any case."""

SAFETY_MARGIN_SECONDS = 0.5
MIN_SAFETY_INTERVAL_SECONDS = 2.0
MAX_SAFETY_INTERVAL_SECONDS = 30.0

MAX_MEDIANS, MIN_LATEST_SECONDS = 3.0, 8.0

MIN_LATENCIES = 3

# Of any picture: 30-60 s is what the API's other clients expect. It also guards what was learned against a day on
# which everything is different.
_PRIOR_MEDIAN, _PRIOR_SIGMA = 30.0, 0.9
_PRIOR_SIGMA_WEIGHT, _TYPICAL_SIGMA = 3.0, 0.5
_MAX_TRUST = 0.9
_FIT_ROUNDS = 20

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

    def hazard(self, seconds: float) -> float:
        z = self._z(seconds)
        return _inverse_mills(z) / (self.sigma * seconds)


@dataclass(frozen=True)
class Pace:
    """When to ask, by the latencies seen so far.

    Args:
        latencies: Seconds from submit to success of the same model's latest pictures.
    """

    latencies: Sequence[float] = ()
    _parts: tuple[_Lognormal, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_parts", self._fitted())

    def _fitted(self) -> tuple[_Lognormal, ...]:
        return _fit(self.latencies)

    @property
    def learned(self) -> bool:
        """Whether enough was seen to go by it."""
        return len(self.latencies) >= MIN_LATENCIES

    def first(self) -> float:
        """Seconds from the submit to the first query."""
        if not self.learned:
            return FIRST_QUERY_SECONDS
        return max(MIN_LEARNED_INTERVAL_SECONDS, self._quantile(FIRST_QUERY_CHANCE))

    def interval(self, elapsed: float) -> float:
        """Seconds to the next query after one that found the task open, ``elapsed`` seconds after the submit."""
        if not self.learned:
            return min(MAX_INTERVAL_SECONDS, max(MIN_INTERVAL_SECONDS, SHARE_OF_ELAPSED * elapsed))
        seconds = MIN_INTERVAL_SECONDS
        for _ in range(4):  # the hazard in the middle of the interval that it itself decides
            best = math.sqrt(2 * QUERY_COST_SECONDS / max(self._hazard(elapsed + seconds / 2), 1e-9))
            seconds = min(MAX_LEARNED_INTERVAL_SECONDS, max(MIN_LEARNED_INTERVAL_SECONDS, best))
        # Whoever looks early, when the hazard is still next to nothing, puts nothing off.
        until_first = self.first() - elapsed
        return min(seconds, max(MIN_LEARNED_INTERVAL_SECONDS, until_first)) if until_first > 0 else seconds

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
        return sum(part.density(seconds) for part in self._parts) / max(still_open, 1e-12)


@dataclass(frozen=True)
class SafetyPace(Pace):
    """When to ask for a task whose end a callback should tell: late and seldom, since it is only for the lost ones.

    The hazard of an end that nobody tells is the share of lost callbacks times that of an end.

    Args:
        opened: Seconds since the submit of those that are waited for now: without them the first ones to end of many
            would make all look fast.
        lost_share: The share of callbacks that are lost; None where nobody knows whether any come.
    """

    opened: Sequence[float] = ()
    lost_share: float | None = None

    @property
    def informed(self) -> bool:
        """Whether enough is known to choose a moment."""
        return self.lost_share is not None and bool(self.latencies)

    def first(self) -> float:
        """As :meth:`Pace.first`: at the latest when most such pictures would be ready."""
        return self._first if self.informed else super().first()

    def interval(self, elapsed: float) -> float:
        """As :meth:`Pace.interval`: at most a quarter of the time waited so far, once most would be ready."""
        if not self.informed:
            return super().interval(elapsed)
        longest = min(MAX_SAFETY_INTERVAL_SECONDS, max(MIN_SAFETY_INTERVAL_SECONDS, 0.25 * elapsed))
        return max(MIN_INTERVAL_SECONDS, self._reach(elapsed, max(longest, self._first - elapsed)))

    @cached_property
    def latest(self) -> float:
        """Seconds from the submit to when nearly all such pictures would be ready.

        Those that are lost look like slow ones, and many lost at once would make all look slow: so no longer than
        some three medians of what has ended, which only one in seventy exceeds (lognormal, sigma 0.5).
        """
        likely = self._likely(SAFETY_CHANCE) + SAFETY_MARGIN_SECONDS
        if not self.learned:
            return likely
        return min(likely, max(MIN_LATEST_SECONDS, MAX_MEDIANS * statistics.median(self.latencies)))

    @cached_property
    def _first(self) -> float:
        return self._reach(0.0, min(self.latest, self._likely(FIRST_SAFETY_CHANCE) + SAFETY_MARGIN_SECONDS))

    def _likely(self, chance: float) -> float:
        likely = self._parts[0]
        return likely.median * math.exp(likely.sigma * _NORMAL.inv_cdf(chance))

    def _fitted(self) -> tuple[_Lognormal, ...]:
        return _fit(self.latencies, self.opened, self.lost_share or 0.0)

    def _reach(self, elapsed: float, longest: float) -> float:
        """Seconds until an end that nobody told is worth a query."""
        assert self.lost_share is not None
        worth, at = 0.0, max(elapsed, 0.01)
        while worth < 1.0 and at - elapsed < longest:
            step = max(0.05, 0.02 * at)
            hazard = self._parts[0].hazard(at + step / 2)
            worth += step * math.sqrt(self.lost_share * hazard / (2 * QUERY_COST_SECONDS))
            at += step
        return min(longest, at - elapsed)


def backoff(failures: int, retry_after: float | None) -> float:
    """Least seconds to the next query after ``failures`` failed ones in a row."""
    if failures == 0:
        return 0.0
    return max(min(MAX_BACKOFF_SECONDS, 2.0 ** (failures - 1)), retry_after or 0.0)


def _fit(latencies: Sequence[float], opened: Sequence[float] = (), lost: float = 0.0) -> tuple[_Lognormal, ...]:
    """A lognormal by what was seen, its spread drawn towards a typical one while little was, and the prior.

    Pictures that are still open say that they take longer than so far, unless they have ended and the share ``lost``
    of such ends is not told (right-censored data with a cured share, by expectation maximisation). Empty where
    nothing was seen: such a pace goes by fixed intervals.
    """
    count = len(latencies)
    if count == 0:
        return ()
    logs = [math.log(max(seconds, 0.01)) for seconds in latencies]
    ages = [math.log(seconds) for seconds in opened if seconds > 0.01]
    mean = sum(logs) / count
    weight, known = _PRIOR_SIGMA_WEIGHT, _PRIOR_SIGMA_WEIGHT * _TYPICAL_SIGMA**2
    sigma = math.sqrt((sum((each - mean) ** 2 for each in logs) + known) / (count + weight))
    for _ in range(_FIT_ROUNDS if ages else 0):
        guesses = [_censored(age, mean, sigma, lost) for age in ages]
        total = count + sum(share for share, _, _ in guesses)
        mean = (sum(logs) + sum(share * likely for share, likely, _ in guesses)) / total
        squares = sum((each - mean) ** 2 for each in logs)
        squares += sum(share * ((likely - mean) ** 2 + spread) for share, likely, spread in guesses)
        sigma = math.sqrt((squares + known) / (total + weight))
    trust = _MAX_TRUST * count / (count + 1)
    return (_Lognormal(trust, math.exp(mean), sigma), _Lognormal(1 - trust, _PRIOR_MEDIAN, _PRIOR_SIGMA))


def _censored(age: float, mean: float, sigma: float, lost: float) -> tuple[float, float, float]:
    """Of a value that is known only to be beyond ``age``: the chance that it is, its mean and its variance."""
    z = (age - mean) / sigma
    ratio = _inverse_mills(z)
    beyond = (1 - lost) * _NORMAL.cdf(-z)
    share = beyond / (beyond + lost) if lost else 1.0
    return share, mean + sigma * ratio, sigma**2 * max(0.0, 1 + z * ratio - ratio**2)


def _inverse_mills(z: float) -> float:
    """The density of the normal distribution over what is left of it beyond z."""
    if z > 6.0:  # where both vanish
        return z + 1 / z
    return _NORMAL.pdf(z) / _NORMAL.cdf(-z)
