"""Whether a submit may be sent again after a failure, and after how long. Pure: no clock and no network.

A submit is paid and not idempotent, so another attempt is allowed only if the request was never sent, or after a
complete answer of 429, 500 or 503 without a task. A 500 or 503 does not say whether anything was charged. A query is
free.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from nano_banana_mcp.defapi.errors import Busy, DefapiError, Unreachable

MAX_ATTEMPTS = 3

MIN_CEILING_SECONDS = 1.0
MAX_CEILING_SECONDS = 8.0
"""Bounds of the ceiling of a random pause (full jitter)."""

MAX_RETRY_AFTER_SECONDS = 60.0
"""A longer ``Retry-After`` is reported instead of slept: hosts cut a call at about 60 s."""


def is_retryable(error: BaseException) -> bool:
    """Whether the same request may be sent once more after ``error``."""
    if isinstance(error, Busy):
        return error.retry_after is None or error.retry_after <= MAX_RETRY_AFTER_SECONDS
    return isinstance(error, Unreachable)


def delay_before(attempt: int, error: BaseException, rng: random.Random) -> float:
    """Seconds to wait before an attempt: full jitter below a ceiling that doubles, added to ``Retry-After``.

    Args:
        attempt: Number of the repeated attempt: 1 for the first repetition.
        error: How the attempt before failed.
    """
    ceiling = min(MAX_CEILING_SECONDS, MIN_CEILING_SECONDS * 2 ** (attempt - 1))
    jitter = rng.uniform(0, ceiling)
    retry_after = error.retry_after if isinstance(error, Busy) and error.retry_after is not None else 0.0
    return retry_after + jitter


@dataclass
class Backoff:
    """Hook for stamina: called with each failure, returns the delay in seconds, or False to give up.

    Attributes:
        errors: The failures so far.
        slept_seconds: The sum of the delays so far.
    """

    rng: random.Random = field(default_factory=random.SystemRandom)
    errors: list[DefapiError] = field(default_factory=list)
    slept_seconds: float = 0.0

    def __call__(self, error: Exception) -> bool | float:
        if not isinstance(error, DefapiError):
            return False
        self.errors.append(error)
        if not is_retryable(error):
            return False
        delay = delay_before(len(self.errors), error, self.rng)
        self.slept_seconds += delay
        return delay if self.slept_seconds <= MAX_RETRY_AFTER_SECONDS + MAX_CEILING_SECONDS else False
