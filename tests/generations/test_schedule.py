"""When to ask: the pure rules."""

from hypothesis import given
from hypothesis import strategies as st

from nano_banana_mcp.generations import schedule

elapsed = st.floats(min_value=0, max_value=10_000)


def test_a_fresh_task_is_not_asked_for_before_any_picture_can_be_ready() -> None:
    assert schedule.due_in(0.0, None) == schedule.FIRST_QUERY_SECONDS
    assert schedule.due_in(0.5, None) == schedule.FIRST_QUERY_SECONDS - 0.5


def test_an_old_task_that_was_never_asked_for_is_due_at_once() -> None:
    assert schedule.due_in(100.0, None) == 0.0


def test_a_query_of_a_moment_ago_is_not_repeated() -> None:
    assert schedule.due_in(40.0, 0.0) == schedule.interval(40.0)


@given(elapsed)
def test_intervals_stay_within_their_bounds_and_never_shrink_with_time(seconds: float) -> None:
    now, later = schedule.interval(seconds), schedule.interval(seconds + 1)
    assert schedule.SHORTEST_INTERVAL_SECONDS <= now <= later <= schedule.LONGEST_INTERVAL_SECONDS


@given(elapsed, st.none() | elapsed)
def test_a_pause_is_never_negative(seconds: float, since: float | None) -> None:
    assert schedule.due_in(seconds, since) >= 0.0


def test_failures_in_a_row_lengthen_the_pause_up_to_a_limit() -> None:
    pauses = [schedule.backoff(failures, None) for failures in range(8)]
    assert pauses[0] == 0.0
    assert pauses == sorted(pauses)
    assert pauses[-1] == schedule.LONGEST_BACKOFF_SECONDS


def test_a_retry_after_of_the_api_is_the_least_pause() -> None:
    assert schedule.backoff(1, 20.0) == 20.0
