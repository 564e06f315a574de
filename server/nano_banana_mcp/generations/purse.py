"""What may be spent on queries for ends that a callback should tell."""

from __future__ import annotations

import math

import anyio

from nano_banana_mcp.generations.schedule import SafetyPace

SPARE_PER_TASK = 0.15
KEPT_BACK_PER_TASK = 0.06
SPARE_PER_LOST = 3.0
MOST_SPARE = 8.0
ONE = 1.0 - 1e-6  # what many fractions add up to

# The pauses between them are those for one task up to so many at once, and shorter beyond, down to a share of it.
FEW, LEAST = 20, 0.2
FEW_EMPTY, LEAST_EMPTY = 12, 1 / 3

# With nothing to spare.
SHORTEST_EMPTY_SECONDS = 2.0
EMPTY_SHARE_OF_ELAPSED = 0.7


class Purse:
    """Queries that all tasks which lean on callbacks may spend together, one after another.

    While callbacks come, a query before the end is spent for nothing: each submit allows a fraction of one, so that
    few are spent a task however wrong the guesses are. A query that finds an end that no callback told costs
    nothing, and allows more, since there may be more such ends. With nothing to spare, one now and then goes
    all the same.
    """

    def __init__(self) -> None:
        self._spare = 0.0
        self._awaited = 0
        self._last = -math.inf

    def submitted(self, awaited: int) -> None:
        """One more task leans on its callback; ``awaited`` do now."""
        self._awaited = awaited
        most = min(MOST_SPARE, max(1.0, SPARE_PER_TASK * awaited))
        self._spare = max(self._spare, min(most, self._spare + SPARE_PER_TASK))

    def due_in(self, pace: SafetyPace, elapsed: float, queue: int) -> float:
        """Seconds until one of ``queue`` tasks that want to be asked for may be, ``elapsed`` seconds after its
        submit; 0 where it may now."""
        if pace.informed:
            enough = self._spare >= ONE + KEPT_BACK_PER_TASK * self._awaited
            return 0.0 if enough else max(0.0, pace.latest - elapsed)
        since = anyio.current_time() - self._last
        before = max(0.0, elapsed - since)
        if self._spare < ONE:
            spacing = max(SHORTEST_EMPTY_SECONDS, EMPTY_SHARE_OF_ELAPSED * before)
            spacing *= max(LEAST_EMPTY, min(1.0, FEW_EMPTY / queue))
        else:
            spacing = pace.interval(before) * max(LEAST, min(1.0, FEW / queue) ** 1.5)
        return max(0.0, spacing - since)

    def spend(self) -> None:
        """One query goes."""
        self._spare = max(0.0, self._spare - 1.0)
        self._last = anyio.current_time()

    def found(self) -> None:
        """It has found an end; where one was not told, others may not be either."""
        self._last = -math.inf
        self._spare = min(MOST_SPARE, self._spare + 1.0)

    def lost(self) -> None:
        """An end that no callback told."""
        self._spare = min(MOST_SPARE, self._spare + SPARE_PER_LOST)
