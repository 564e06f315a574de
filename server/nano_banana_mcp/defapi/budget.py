"""How much of the API all calls of this process together may use."""

from __future__ import annotations

import anyio

BURST_SECONDS = 4.0
"""So many seconds' worth of queries may come at once, before they are spread out."""


class QueryBudget:
    """Spreads queries so that there are at most ``per_second`` in the long run. First come, first served.

    Args:
        per_second: Queries a second; None for no limit.
    """

    def __init__(self, per_second: float | None) -> None:
        self._each = 0.0 if per_second is None else 1.0 / per_second
        self._spent_until = float("-inf")
        self._line = anyio.Lock(fast_acquire=True)

    async def take(self) -> None:
        """Return when it is this query's turn. One that is cancelled before has spent nothing."""
        if not self._each:
            return
        async with self._line:
            now = anyio.current_time()
            due = max(self._spent_until, now - BURST_SECONDS) + self._each
            if due > now:
                await anyio.sleep_until(due)
            self._spent_until = due
