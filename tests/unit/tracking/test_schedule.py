"""When to ask: the pure rules."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano_banana_mcp.tracking import schedule
from nano_banana_mcp.tracking.schedule import MIN_LEARNED_INTERVAL_SECONDS, Pace, SafetyPace
from tests.lab.benchmarks.detection import latencies

elapsed = st.floats(min_value=0, max_value=100_000)
seen = st.lists(st.floats(min_value=0.01, max_value=10_000), max_size=60)


def test_of_a_model_that_is_not_known_a_fresh_task_is_asked_for_soon() -> None:
    assert Pace().due_in(0.0, None) == schedule.FIRST_QUERY_SECONDS
    assert Pace().due_in(0.5, None) == schedule.FIRST_QUERY_SECONDS - 0.5


def test_an_old_task_that_was_never_asked_for_is_due_at_once() -> None:
    assert Pace().due_in(100.0, None) == 0.0


def test_a_query_of_a_moment_ago_is_not_repeated() -> None:
    assert Pace().due_in(40.0, 0.0) == Pace().interval(40.0)


@given(elapsed)
def test_unlearned_intervals_stay_within_their_bounds_and_never_shrink_with_time(seconds: float) -> None:
    now, later = Pace().interval(seconds), Pace().interval(seconds + 1)
    assert schedule.MIN_INTERVAL_SECONDS <= now <= later <= schedule.MAX_INTERVAL_SECONDS


@given(seen, elapsed, st.none() | elapsed)
def test_no_history_whatever_makes_a_pause_negative_or_endless(
    history: list[float], seconds: float, since: float | None
) -> None:
    assert 0.0 <= Pace(history).due_in(seconds, since) <= 100_000


@given(seen.filter(lambda history: len(history) >= schedule.MIN_LATENCIES), elapsed)
def test_learned_intervals_stay_within_their_bounds(history: list[float], seconds: float) -> None:
    interval = Pace(history).interval(seconds)
    assert schedule.MIN_LEARNED_INTERVAL_SECONDS <= interval <= schedule.MAX_LEARNED_INTERVAL_SECONDS


def test_two_latencies_are_not_enough_to_go_by() -> None:
    assert Pace([300.0, 300.0]).first() == Pace().first()


@pytest.mark.parametrize("median", [12.0, 45.0, 180.0])
def test_what_was_seen_sets_the_first_query_and_the_pace(median: float) -> None:
    pace = Pace(latencies(median, 20, seed=1))
    assert 0.05 * median < pace.first() < median
    assert pace.interval(median) < pace.interval(0.2 * median)
    assert pace.interval(median) == pytest.approx((0.4 * median) ** 0.5, rel=0.5)


@pytest.mark.parametrize("median", [6.0, 12.0, 45.0])
@pytest.mark.parametrize("share", [0.7, 1.0, 1.5])
def test_an_interval_is_the_best_one_for_the_chance_in_its_middle(median: float, share: float) -> None:
    pace, elapsed = Pace(latencies(median, 20, seed=1)), share * median
    interval = pace.interval(elapsed)
    middle = elapsed + interval / 2
    before, after = (1 - pace._done(at) for at in (middle - 0.001, middle + 0.001))
    hazard = math.log(before / after) / 0.002
    assert interval == pytest.approx(math.sqrt(2 * schedule.QUERY_COST_SECONDS / hazard), rel=1e-3)


@pytest.mark.parametrize("seconds", [20_000.0, 100_000.0, 1_000_000.0])
def test_a_task_that_is_open_for_hours_or_days_is_asked_for_as_seldom_as_any(seconds: float) -> None:
    assert Pace(latencies(12.0, 20, seed=1)).interval(seconds) == schedule.MAX_LEARNED_INTERVAL_SECONDS


def test_a_model_that_takes_less_than_a_second_is_asked_for_as_soon_as_any() -> None:
    assert Pace([0.6] * 30).first() == schedule.MIN_LEARNED_INTERVAL_SECONDS
    assert Pace([1.2] * 30).first() < 1.0
    assert Pace([0.6] * 30)._parts[0].median == pytest.approx(0.6)


def test_a_query_of_before_the_first_second_counts_from_when_it_was_made() -> None:
    pace = Pace([5.0] * 3)
    assert pace.due_in(0.6, 0.1) == pytest.approx(pace.interval(0.5) - 0.1)
    assert pace.interval(0.5) > 1.1 * pace.interval(1.0)


@pytest.mark.parametrize(("count", "trust"), [(3, 0.675), (9, 0.81), (89, 0.89)])
def test_what_was_seen_is_gone_by_the_more_of_it_there_is_and_never_alone(count: int, trust: float) -> None:
    seen, prior = Pace([5.0] * count)._parts
    assert (seen.share, prior.share) == pytest.approx((trust, 1 - trust))


def test_a_slow_model_is_asked_for_less_often_than_a_fast_one() -> None:
    fast, slow = Pace(latencies(12.0, 20, seed=1)), Pace(latencies(180.0, 20, seed=1))
    assert fast.first() < slow.first()
    assert fast.interval(12.0) < slow.interval(180.0)


def test_a_day_on_which_everything_is_faster_is_noticed_all_the_same() -> None:
    """Learned 180 s, come after 10 s: the first look is not left to what was learned alone."""
    assert Pace(latencies(180.0, 50, seed=1)).first() < 25.0


def test_equal_latencies_do_not_make_the_pace_blind_for_others() -> None:
    pace = Pace([20.0] * 50)
    assert pace.interval(60.0) <= schedule.MAX_LEARNED_INTERVAL_SECONDS
    assert pace.first() < 20.0


def test_failures_in_a_row_lengthen_the_pause_up_to_a_limit() -> None:
    pauses = [schedule.backoff(failures, None) for failures in range(8)]
    assert pauses[0] == 0.0
    assert pauses == sorted(pauses)
    assert pauses[-1] == schedule.MAX_BACKOFF_SECONDS


def test_a_retry_after_of_the_api_is_the_least_pause() -> None:
    assert schedule.backoff(1, 20.0) == 20.0


def test_shuffled_history_gives_the_same_pace() -> None:
    history = latencies(45.0, 20, seed=1)
    shuffled = random.Random(2).sample(history, len(history))
    assert Pace(history).interval(45.0) == pytest.approx(Pace(shuffled).interval(45.0))


def test_a_safety_query_comes_when_most_images_are_ready_and_sooner_the_more_callbacks_are_lost() -> None:
    history = latencies(12.0, 30, seed=1)
    few, some, all_of_them = (SafetyPace(history, (), share) for share in (0.001, 0.1, 1.0))
    assert 12.0 < few.first() < few.latest < 40.0
    assert some.first() < few.first()
    assert all_of_them.interval(12.0) == pytest.approx(Pace(history).interval(12.0), rel=0.4)
    assert all_of_them.interval(12.0) < some.interval(12.0) < few.interval(12.0)


def test_latencies_that_hardly_differ_let_a_lost_callback_be_noticed_soon() -> None:
    assert SafetyPace([2.0] * 30, (), 0.02).latest < 4.0
    assert SafetyPace([2.0], (), 0.02).latest < 6.0


@given(seen, st.none() | st.floats(min_value=0, max_value=1), elapsed, st.none() | elapsed)
def test_no_history_makes_a_safety_pause_negative_or_endless(
    history: list[float], lost: float | None, seconds: float, since: float | None
) -> None:
    assert 0.0 <= SafetyPace(history, history, lost).due_in(seconds, since) <= 10_000_000


def test_the_first_to_end_of_many_at_once_do_not_make_all_look_fast() -> None:
    ends = sorted(latencies(12.0, 60, seed=1))
    told, opened = ends[:3], [ends[3]] * 57
    assert SafetyPace(told, (), 0.02).first() < ends[30]
    assert SafetyPace(told, opened, 0.02).first() > 1.5 * SafetyPace(told, (), 0.02).first()


@pytest.mark.parametrize("lost", [0.0, 0.02, 0.3])
def test_those_that_are_open_are_slow_ones_or_lost_as_is_most_likely(lost: float) -> None:
    ends = latencies(12.0, 40, seed=3)
    told, opened = [end for end in ends if end < 14.0], [14.0 for end in ends if end >= 14.0]
    alike = SafetyPace(told, [*opened, 0.001], lost)._parts[0]

    def likelihood(mean: float, sigma: float) -> float:
        """Of what was seen, and of a spread that was drawn towards the typical one by what counts as three more."""
        normal = NormalDist(mean, sigma)
        said = sum(math.log(normal.pdf(math.log(end))) for end in told)
        said += sum(math.log((1 - lost) * (1 - normal.cdf(math.log(age))) + lost) for age in opened)
        return said - 3.0 * (math.log(sigma) + 0.5**2 / (2 * sigma**2))

    mean, sigma = math.log(alike.median), alike.sigma
    best = likelihood(mean, sigma)
    assert best > max(likelihood(mean + by, sigma) for by in (-0.02, 0.02))
    assert best > max(likelihood(mean, sigma * by) for by in (0.97, 1.03))


def test_of_a_fast_model_a_second_without_an_end_says_something() -> None:
    told = [0.3] * 5
    assert SafetyPace(told, [0.9] * 5, 0.0).latest > 1.2 * SafetyPace(told, (), 0.0).latest


def test_one_that_is_open_for_days_where_none_is_lost_breaks_nothing() -> None:
    assert math.isfinite(SafetyPace([2.0] * 30, [300_000.0], 0.0).latest)


def test_one_that_is_open_for_long_since_its_callback_was_lost_does_not_make_all_look_slow() -> None:
    told = latencies(12.0, 10, seed=1)
    alone, beside = SafetyPace(told, (), 0.05), SafetyPace(told, [300.0], 0.05)
    assert beside.latest == pytest.approx(alone.latest, rel=0.05)


@pytest.mark.parametrize(
    ("failures", "retry_after", "pause"),
    [(1, None, 1.0), (2, None, 2.0), (3, None, 4.0), (4, None, 8.0), (5, None, 15.0), (1, 0.5, 1.0), (3, 4.5, 4.5)],
)
def test_the_pause_doubles_from_one_second(failures: int, retry_after: float | None, pause: float) -> None:
    assert schedule.backoff(failures, retry_after) == pause
    assert schedule.backoff(0, 20.0) == 0.0


def integrated(of: Callable[[float], float], low: float, high: float, steps: int = 40_000) -> float:
    width = (high - low) / steps
    return sum(of(low + (number + 0.5) * width) for number in range(steps)) * width


@pytest.mark.parametrize(
    ("age", "mean", "sigma"), [(0.0, 0.0, 1.0), (2.0, 1.0, 0.5), (-1.0, 1.0, 0.7), (5.0, 2.0, 0.6)]
)
def test_what_is_open_has_the_moments_of_the_normal_distribution_beyond_its_age(
    age: float, mean: float, sigma: float
) -> None:
    normal = NormalDist(mean, sigma)
    beyond = integrated(normal.pdf, age, age + 12 * sigma)
    likely = integrated(lambda x: x * normal.pdf(x), age, age + 12 * sigma) / beyond
    spread = integrated(lambda x: (x - likely) ** 2 * normal.pdf(x), age, age + 12 * sigma) / beyond
    found = schedule._censored(age, mean, sigma, 0.0)
    assert found == pytest.approx((1.0, likely, spread), rel=1e-3)
    for lost in (0.1, 0.9):
        share = (1 - lost) * beyond / ((1 - lost) * beyond + lost)
        assert schedule._censored(age, mean, sigma, lost)[0] == pytest.approx(share, rel=1e-3)


def test_far_out_the_ratio_goes_on_as_its_asymptote() -> None:
    near, far = schedule._inverse_mills(6.0), schedule._inverse_mills(6.0001)
    assert far == pytest.approx(near, rel=5e-3)
    assert schedule._inverse_mills(40.0) == pytest.approx(40.0 + 1 / 40.0)
    assert [schedule._inverse_mills(z) for z in (-1.0, 0.0, 3.0)] == pytest.approx(
        [0.28760, 0.79788, 3.28310], abs=1e-4
    )


def test_so_many_images_are_ready_at_the_quantile() -> None:
    pace = Pace(latencies(12.0, 30, seed=1))
    for chance in (0.03, 0.5, 0.95):
        assert pace._done(pace._quantile(chance)) < chance < pace._done(1.0101 * pace._quantile(chance))


@pytest.mark.parametrize(("lost", "elapsed"), [(0.05, 0.0), (0.3, 0.0), (1.0, 0.0), (0.3, 14.0), (0.02, 20.0)])
def test_a_safety_query_is_due_when_the_lag_that_it_saves_is_worth_it(lost: float, elapsed: float) -> None:
    pace = SafetyPace(latencies(12.0, 30, seed=1), (), lost)
    likely = pace._parts[0]

    def worth(seconds: float) -> float:
        return math.sqrt(lost * likely.hazard(seconds) / (2 * schedule.QUERY_COST_SECONDS))

    start = max(elapsed, 0.01)
    reached = elapsed + pace._reach(elapsed, 1_000.0)
    step = max(0.05, 0.02 * reached / 1.02)
    assert integrated(worth, start, reached - step) < 1.0
    assert integrated(worth, start, reached) > 0.998
    assert pace._reach(elapsed, 0.5) == 0.5


def test_of_a_fast_model_the_first_safety_query_comes_before_a_second_is_over() -> None:
    for median in (0.3, 0.6):
        pace = SafetyPace([median] * 30, (), 0.3)
        assert median < pace.first() < 1.5 * median + 0.1


def test_once_most_would_be_ready_a_safety_query_comes_within_a_quarter_of_the_time_waited() -> None:
    pace = SafetyPace(latencies(12.0, 30, seed=1), (), 0.000_01)
    assert pace.interval(40.0) == 10.0
    assert pace.interval(4.0) == pytest.approx(pace.first() - 4.0)
    assert pace.interval(200.0) == schedule.MAX_SAFETY_INTERVAL_SECONDS


@pytest.mark.parametrize("latencies", [[2.0, 3.0, 4.0], [3.0] * 30, [4.0, 4.2, 4.5], [12.0, 12.1, 12.2], [40.0, 50.0]])
@pytest.mark.parametrize("early", [0.0, 0.1, 0.3, 0.9])
def test_a_look_before_the_first_query_does_not_put_that_off(latencies: list[float], early: float) -> None:
    pace = Pace(latencies * 2)
    looked = early * pace.first()
    later = pace.interval(looked)
    assert looked + later <= max(pace.first(), looked + MIN_LEARNED_INTERVAL_SECONDS) + 1e-9
    assert later >= MIN_LEARNED_INTERVAL_SECONDS


def test_once_the_first_query_is_over_the_interval_is_the_hazards() -> None:
    pace = Pace([3.0] * 30)
    assert pace.interval(pace.first()) == pytest.approx(pace.interval(pace.first() + 0.001), rel=0.05)
