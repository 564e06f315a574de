"""When the API is queried: the pure schedule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano_banana_mcp.tracking.schedule import Schedule

SCHEDULE = Schedule()


def test_the_first_query_comes_two_seconds_after_the_submit() -> None:
    assert SCHEDULE.pause(0.0, None) == 2.0


def test_an_old_task_that_was_never_queried_is_due_at_once() -> None:
    assert SCHEDULE.pause(300.0, None) <= 0


@pytest.mark.parametrize(
    ("elapsed_at_query", "pause"), [(2.0, 1.0), (10.0, 1.0), (20.0, 2.0), (45.0, 4.5), (50.0, 5.0), (3_600.0, 5.0)]
)
def test_a_pause_is_a_tenth_of_the_time_since_the_submit_within_its_bounds(
    elapsed_at_query: float, pause: float
) -> None:
    assert SCHEDULE.pause(elapsed_at_query, 0.0) == pytest.approx(pause)
    assert SCHEDULE.pause(elapsed_at_query + pause, pause) == pytest.approx(0.0)


@pytest.mark.parametrize(("jitter", "pause"), [(-1.0, 12.0), (0.0, 15.0), (1.0, 18.0)])
def test_where_a_callback_is_expected_a_safety_query_comes_every_fifteen_seconds(jitter: float, pause: float) -> None:
    assert SCHEDULE.pause(0.0, None, expects_callback=True, jitter=jitter) == pytest.approx(pause)
    assert SCHEDULE.pause(100.0, 2.0, expects_callback=True, jitter=jitter) == pytest.approx(pause - 2.0)


def test_without_a_random_number_a_safety_query_is_neither_early_nor_late() -> None:
    assert SCHEDULE.pause(0.0, None, expects_callback=True) == 15.0


@pytest.mark.parametrize(("elapsed", "pause"), [(0.0, 2.0), (0.5, 1.5), (1.5, 1.0), (30.0, 3.0), (3_600.0, 5.0)])
def test_a_client_that_polls_comes_when_the_next_query_is_due(elapsed: float, pause: float) -> None:
    assert SCHEDULE.poll_interval(elapsed) == pytest.approx(pause)


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.booleans(), st.floats(-1, 1))
def test_no_pause_is_longer_than_the_longest_interval(
    elapsed: float, since_query: float, expects_callback: bool, jitter: float
) -> None:
    pause = SCHEDULE.pause(elapsed, since_query, expects_callback=expects_callback, jitter=jitter)
    assert pause <= (18.0 if expects_callback else 5.0)


@pytest.mark.parametrize(
    ("failures", "retry_after", "pause"),
    [
        (0, 9.0, 0.0),
        (1, None, 1.0),
        (2, None, 2.0),
        (3, None, 4.0),
        (9, None, 30.0),
        (5_000, None, 30.0),
        (1, 20, 20),
        (9, 20.0, 30.0),
        (1, 59.0, 59.0),
        (1, 60.0, 60.0),
        (1, 61.0, 60.0),
        (9, 86_400.0, 60.0),
    ],
)
def test_the_pause_after_failures_doubles_up_to_its_limit_and_respects_retry_after_up_to_60_seconds(
    failures: int, retry_after: float | None, pause: float
) -> None:
    assert SCHEDULE.backoff(failures, retry_after) == pause


def test_without_retry_after_only_the_failures_decide() -> None:
    assert Schedule(max_backoff=0.5).backoff(1) == 0.5


def test_a_task_without_a_waiter_is_first_queried_late_and_with_a_callback_later() -> None:
    assert SCHEDULE.sweep_pause(0.0, None) == 20.0
    assert SCHEDULE.sweep_pause(0.0, None, expects_callback=True) == 90.0
    assert SCHEDULE.sweep_pause(5.0, None) == 15.0


@pytest.mark.parametrize(("elapsed", "pause"), [(20.0, 10.0), (60.0, 15.0), (600.0, 20.0), (1_000.0, 100.0)])
def test_the_pauses_of_a_task_without_a_waiter_grow_with_its_age(elapsed: float, pause: float) -> None:
    assert SCHEDULE.sweep_pause(elapsed, 0.0) == pytest.approx(pause)
    assert SCHEDULE.sweep_pause(elapsed, 3.0) == pytest.approx(pause - 3.0)


def test_an_old_task_without_a_waiter_is_queried_less_and_less_often() -> None:
    assert SCHEDULE.sweep_pause(900.0, 74.0) > 0
    assert SCHEDULE.sweep_pause(900.0, 76.0) <= 0
