"""Whether a request should be repeated, and after how long. Pure: no clock, no network.

The rules follow what each failure proves. A submit is paid and not idempotent, so only a request that was
never sent, or a whole answer that refuses for now, allows another; a query costs nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from nano_banana_mcp.defapi.errors import Busy, DefapiError, Unreachable

ATTEMPTS = 3
"""How often one request is sent at most."""

FIRST_CEILING_SECONDS = 1.0
LAST_CEILING_SECONDS = 8.0

MAX_RETRY_AFTER_SECONDS = 60.0
"""A longer ``Retry-After`` is not slept through but told to the caller: hosts cut a call at about 60 s."""


def may_repeat(error: BaseException) -> bool:
    """Whether the same request, paid or not, may be sent once more after ``error``."""
    if isinstance(error, Busy):
        return error.retry_after is None or error.retry_after <= MAX_RETRY_AFTER_SECONDS
    return isinstance(error, Unreachable)


def delay_before(repeat: int, error: BaseException, rng: random.Random) -> float:
    """Seconds to wait before the ``repeat``-th repeat (1, 2, …).

    Full jitter, uniform between 0 and a ceiling that doubles; ``Retry-After`` is the least where given.
    """
    ceiling = min(LAST_CEILING_SECONDS, FIRST_CEILING_SECONDS * 2 ** (repeat - 1))
    jitter = rng.uniform(0, ceiling)
    asked = error.retry_after if isinstance(error, Busy) and error.retry_after is not None else 0.0
    return asked + jitter


@dataclass
class Backoff:
    """The hook that the retry library asks after a failure: the delay in seconds, or False to give up."""

    rng: random.Random = field(default_factory=random.SystemRandom)
    failures: int = 0
    slept: float = 0.0

    def __call__(self, error: Exception) -> bool | float:
        self.failures += 1
        if not isinstance(error, DefapiError) or not may_repeat(error):
            return False
        delay = delay_before(self.failures, error, self.rng)
        self.slept += delay
        return delay if self.slept <= MAX_RETRY_AFTER_SECONDS + LAST_CEILING_SECONDS else False
