"""Whether and when to repeat: the pure rules."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano_banana_mcp.defapi import retry
from nano_banana_mcp.defapi.errors import (
    Busy,
    KeyMissing,
    KeyRefused,
    NoAnswer,
    NotSent,
    OutcomeUnknown,
    OutOfCredits,
    Refused,
    RequestRefused,
    TaskNotFound,
    Unreachable,
)
from nano_banana_mcp.defapi.responses import MAX_RETRY_AFTER_SECONDS, parse_retry_after

NOON = "Tue, 24 Nov 2026 12:00:00 GMT"
NOON_SECONDS = 1795521600.0


@pytest.mark.parametrize(
    "error",
    [
        OutcomeUnknown("x"),
        NoAnswer("x"),
        KeyMissing("x"),
        NotSent("x"),
        Refused("x"),
        RequestRefused("x"),
        KeyRefused("x"),
        OutOfCredits("x"),
        TaskNotFound("x"),
        ValueError("x"),
        TimeoutError(),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_only_an_error_that_proves_that_nothing_was_made_may_be_retried(error: BaseException) -> None:
    assert not retry.is_retryable(error)


@pytest.mark.parametrize("error", [Unreachable("x"), Busy("x", status=429), Busy("x", status=500, retry_after=60.0)])
def test_a_submit_that_was_never_sent_or_is_refused_for_now_may_be_retried(error: BaseException) -> None:
    assert retry.is_retryable(error)


def test_a_retry_after_beyond_a_minute_may_not_be_repeated() -> None:
    assert not retry.is_retryable(Busy("x", status=429, retry_after=60.001))


@given(st.integers(1, 40), st.integers())
def test_a_pause_lies_between_nothing_and_a_ceiling_that_doubles_up_to_a_limit(repeat: int, seed: int) -> None:
    pause = retry.delay_before(repeat, Unreachable("x"), random.Random(seed))
    assert 0.0 <= pause <= min(retry.MAX_CEILING_SECONDS, retry.MIN_CEILING_SECONDS * 2 ** (repeat - 1))


@pytest.mark.parametrize(("repeat", "ceiling"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (50, 8.0)])
def test_the_jitter_is_full(repeat: int, ceiling: float) -> None:
    rng = random.Random(7)
    pauses = [retry.delay_before(repeat, Unreachable("x"), rng) for _ in range(2000)]
    assert min(pauses) < 0.02 * ceiling
    assert 0.98 * ceiling < max(pauses) <= ceiling
    assert sum(pauses) / len(pauses) == pytest.approx(ceiling / 2, rel=0.05)


@given(st.floats(0, 60), st.integers(1, 2), st.integers())
def test_a_retry_after_is_the_least_pause_and_is_jittered_too(seconds: float, repeat: int, seed: int) -> None:
    pause = retry.delay_before(repeat, Busy("x", status=429, retry_after=seconds), random.Random(seed))
    assert seconds <= pause <= seconds + 2.0


def test_the_same_seed_gives_the_same_pauses() -> None:
    first, second = (retry.Backoff(random.Random(3)) for _ in range(2))
    assert [first(Unreachable("x")) for _ in range(4)] == [second(Unreachable("x")) for _ in range(4)]


def test_clients_that_fail_together_do_not_come_back_together() -> None:
    assert len({retry.Backoff()(Unreachable("x")) for _ in range(50)}) == 50


@given(st.integers())
def test_the_hook_never_mistakes_a_pause_of_nothing_for_giving_up(seed: int) -> None:
    answer = retry.Backoff(random.Random(seed))(Unreachable("x"))
    assert isinstance(answer, float)


@pytest.mark.parametrize("error", [OutcomeUnknown("x"), KeyRefused("x"), ValueError("x")])
def test_the_hook_gives_up_on_everything_else(error: Exception) -> None:
    assert retry.Backoff()(error) is False


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("86400", 86400.0),
        ("-7", None),
        ("", None),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("1e3", None),
        (NOON, 0.0),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 13:00:30 +0100", 30.0),
        ("Tuesday, 24-Nov-26 12:00:30 GMT", 30.0),
        ("Tue Nov 24 12:00:30 2026", 30.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("Tue, 99 Nov 2026 11:00:00 GMT", None),
        ("Tue, 24 Nov 2026 11:00:00 +99999999999999999", None),
        ("Tue, 24 Nov 2026 12:00:30 -0000", 30.0),
        ("Tue, 24 Nov 2026 12:00:30", 30.0),
        ("Fri, 31 Dec 9999 23:59:59", MAX_RETRY_AFTER_SECONDS),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER_SECONDS),
        ("Fri, 31 Dec 9999 23:59:59 -0000", MAX_RETRY_AFTER_SECONDS),
        ("Fri, 31 Dec 9999 23:59:59 -1200", MAX_RETRY_AFTER_SECONDS),
        ("Mon, 01 Jan 0001 00:00:00 +1200", 0.0),
        ("999999999", MAX_RETRY_AFTER_SECONDS),
        ("9" * 400, MAX_RETRY_AFTER_SECONDS),
        ("٥", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOON_SECONDS) == seconds


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,6} \d{1,2}:\d\d:\d\d [+-]\d{1,25}"))
def test_an_unusable_retry_after_is_ignored(value: str) -> None:
    seconds = parse_retry_after(value, NOON_SECONDS)
    assert seconds is None or seconds >= 0.0


class Longest(random.Random):
    """Draws the ceiling."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_each_failure_doubles_the_pause_until_the_time_for_pauses_is_spent() -> None:
    hook = retry.Backoff(Longest())
    assert [hook(Unreachable("x")) for _ in range(12)] == [1.0, 2.0, 4.0, *[8.0] * 7, False, False]
    assert (len(hook.errors), hook.slept_seconds) == (12, 79.0)


def test_the_time_for_pauses_is_a_retry_after_of_a_minute_with_its_jitter_to_the_last() -> None:
    hook = retry.Backoff(Longest(), errors=[Unreachable("x")] * 3)
    assert hook(Busy("x", status=429, retry_after=60.0)) == 68.0
    assert hook.slept_seconds == 68.0
    assert hook(Unreachable("x")) is False


def test_a_pause_after_a_busy_answer_is_at_least_its_retry_after() -> None:
    assert retry.Backoff(Longest())(Busy("x", status=503, retry_after=7.0)) == 8.0
