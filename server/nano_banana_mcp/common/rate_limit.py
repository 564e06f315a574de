"""Rate limits by key: a token bucket for each, stored as one number (the generic cell rate algorithm)."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

MAX_KEYS = 10_000
"""Keys kept before those with a full bucket are dropped."""

_ROUNDING_SECONDS = 1e-6


class RateLimiter:
    """Allows bursts and holds the mean rate.

    Args:
        clock: Monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at: dict[Hashable, float] = {}

    def acquire(self, key: Hashable, *, burst: float, interval_seconds: float) -> float:
        """Take one permit, if there is one.

        Args:
            key: Owner of the permit.
            burst: Permits in a full bucket.
            interval_seconds: Time in which one permit is added.

        Returns:
            0.0 if the permit was taken, else the seconds until there is one.
        """
        wait_seconds = self.wait_seconds(key, burst=burst, interval_seconds=interval_seconds)
        if wait_seconds == 0.0:
            now = self._clock()
            if len(self._full_at) >= MAX_KEYS:
                self._full_at = {other: full_at for other, full_at in self._full_at.items() if full_at > now}
            self._full_at[key] = max(self._full_at.get(key, now), now) + interval_seconds
        return wait_seconds

    def wait_seconds(self, key: Hashable, *, burst: float, interval_seconds: float) -> float:
        """The seconds until there is a permit; takes none. Arguments as for :meth:`acquire`."""
        now = self._clock()
        full_at = max(self._full_at.get(key, now), now)
        excess = full_at + interval_seconds - now - burst * interval_seconds
        return excess if excess > _ROUNDING_SECONDS else 0.0
