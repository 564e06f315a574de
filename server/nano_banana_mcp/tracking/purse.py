"""What may be spent on queries for ends that a callback should tell."""

from __future__ import annotations

import math

import anyio

from nano_banana_mcp.tracking.schedule import SafetyPace

PROBES_PER_TASK, MAX_PROBES = 0.15, 8.0
GUESSES_PER_TASK, GUESSES_PER_LOST, MAX_GUESSES = 0.06, 10.0, 30.0
ONE = 1.0 - 1e-6  # what many fractions add up to

# The pauses between probes are those for one task up to so many at once, and shorter beyond, down to a share of it.
FEW = 20
LEAST, MIN_EMPTY = 0.2, 0.15

# With none to spare.
MIN_EMPTY_SECONDS = 2.0
EMPTY_SHARE_OF_ELAPSED = 0.7


class Purse:
    """Queries that all tasks which lean on callbacks may spend together, one after another.

    Each submit allows a fraction of a query, so that few are spent a task however wrong the guesses are. Probes look
    whether callbacks come at all; with none to spare, one goes now and then. Guesses look after those that may be
    lost; each that is found lost allows more.
    """

    def __init__(self) -> None:
        self._probes = 0.0
        self._guesses = 0.0
        self._last = -math.inf

    def submitted(self, awaited: int) -> None:
        """One more task leans on its callback; ``awaited`` do now."""
        self._probes = _more(self._probes, PROBES_PER_TASK, min(MAX_PROBES, PROBES_PER_TASK * awaited))
        self._guesses = _more(self._guesses, GUESSES_PER_TASK, min(MAX_GUESSES, GUESSES_PER_TASK * awaited))

    def due_in(self, pace: SafetyPace, elapsed: float, queue: int) -> float:
        """Seconds until one of ``queue`` tasks that want to be asked for may be, ``elapsed`` seconds after its
        submit; 0 where it may now."""
        if pace.informed:
            return 0.0 if self._guesses >= ONE else max(0.0, pace.latest - elapsed)
        since = anyio.current_time() - self._last
        before = max(0.0, elapsed - since)
        crowd = min(1.0, FEW / queue)
        if self._probes < ONE:
            spacing = max(MIN_EMPTY_SECONDS, EMPTY_SHARE_OF_ELAPSED * before)
            spacing *= max(MIN_EMPTY, crowd)
        else:
            spacing = pace.interval(before) * max(LEAST, crowd**1.5)
        return max(0.0, spacing - since)

    def spend(self, pace: SafetyPace) -> None:
        """One query goes."""
        self._last = anyio.current_time()
        if pace.informed:
            self._guesses = max(0.0, self._guesses - 1.0)
        else:
            self._probes = max(0.0, self._probes - 1.0)

    def found(self) -> None:
        """A query has found an end that was not told; others may not be either."""
        self._last = -math.inf
        self._guesses = min(MAX_GUESSES, self._guesses + 1.0)

    def lost(self) -> None:
        """Its callback has not come since."""
        self._guesses = min(MAX_GUESSES, self._guesses + GUESSES_PER_LOST)


def _more(spare: float, each: float, most: float) -> float:
    return max(spare, min(max(1.0, most), spare + each))
