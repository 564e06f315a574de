"""Bursts are allowed, the mean rate is held."""

from __future__ import annotations

import pytest

from nano_banana_mcp.common.rate_limit import MAX_KEYS, RateLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_allowed_and_then_one_permit_an_interval() -> None:
    clock = Clock()
    limiter = RateLimiter(clock)
    assert [limiter.acquire("a", burst=3, interval_seconds=2.0) for _ in range(3)] == [0.0] * 3
    assert limiter.acquire("a", burst=3, interval_seconds=2.0) == pytest.approx(2.0)
    assert limiter.wait_seconds("a", burst=3, interval_seconds=2.0) == pytest.approx(2.0)
    clock.now += 1.5
    assert limiter.acquire("a", burst=3, interval_seconds=2.0) == pytest.approx(0.5)
    clock.now += 0.5
    assert limiter.acquire("a", burst=3, interval_seconds=2.0) == 0.0
    assert limiter.acquire("a", burst=3, interval_seconds=2.0) > 0.0


def test_each_key_has_a_bucket_of_its_own() -> None:
    limiter = RateLimiter(Clock())
    assert [limiter.acquire(key, burst=1, interval_seconds=1.0) for key in ("a", "b", None)] == [0.0] * 3
    assert limiter.acquire("a", burst=1, interval_seconds=1.0) > 0.0


def limiter_of_all_keys(clock: Clock) -> RateLimiter:
    """A limiter that remembers as many keys as it may."""
    limiter = RateLimiter(clock)
    for number in range(MAX_KEYS):
        limiter.acquire(number, burst=1, interval_seconds=1.0)
    return limiter


def test_full_buckets_are_forgotten() -> None:
    clock = Clock()
    limiter = limiter_of_all_keys(clock)
    clock.now += 2.0
    limiter.acquire("a", burst=1, interval_seconds=1.0)
    assert len(limiter._full_at) == 1


def test_of_many_keys_those_without_a_full_bucket_are_remembered() -> None:
    clock = Clock()
    limiter = limiter_of_all_keys(clock)
    clock.now += 0.5
    assert limiter.acquire("a", burst=1, interval_seconds=1.0) == 0.0
    assert limiter.acquire(0, burst=1, interval_seconds=1.0) == pytest.approx(0.5)
