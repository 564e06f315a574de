"""How callbacks and polling share the work of a fresh server, on a virtual clock, with the server's own studio."""

from __future__ import annotations

import pytest

from tests.lab.benchmarks.detection import latencies
from tests.lab.benchmarks.sharing import simulate

TRIP = 0.02

WORKLOADS = [
    pytest.param(latencies(3.0, 60, seed=1), True, id="sixty at once, 3 s"),
    pytest.param([6.3] * 60, True, id="sixty at once, all alike"),
    pytest.param([3.4] * 20, True, id="twenty at once, all alike"),
    pytest.param(latencies(2.0, 20, seed=1), False, id="one by one, 2 s"),
    pytest.param([6.3] * 20, False, id="one by one, all alike"),
]


@pytest.mark.parametrize(("seconds", "at_once"), WORKLOADS)
def test_with_callbacks_hardly_a_query_is_spent_and_an_end_is_noticed_at_once(
    seconds: list[float], at_once: bool
) -> None:
    found = simulate(seconds, [False] * len(seconds), at_once=at_once, trip=TRIP)
    assert found.p95 <= 0.05
    assert found.queries <= 1.2


@pytest.mark.parametrize(("seconds", "at_once"), WORKLOADS)
def test_a_lost_callback_in_ten_delays_few(seconds: list[float], at_once: bool) -> None:
    found = simulate(seconds, [number % 10 == 5 for number in range(len(seconds))], at_once=at_once, trip=TRIP)
    assert found.p95 <= 5.0
    assert found.queries <= 1.5


@pytest.mark.parametrize(("seconds", "at_once"), WORKLOADS)
def test_where_all_are_lost_an_end_is_noticed_about_as_soon_as_by_polling_alone(
    seconds: list[float], at_once: bool
) -> None:
    alone = simulate(seconds, None, at_once=at_once, trip=TRIP)
    found = simulate(seconds, [True] * len(seconds), at_once=at_once, trip=TRIP)
    assert found.lag <= 1.1 * alone.lag + 0.05
    assert found.queries <= alone.queries + 0.5


def test_a_callback_of_hundreds_that_is_lost_does_not_make_polling_take_over() -> None:
    lost = [number == 50 for number in range(200)]
    found = simulate([3.0] * 200, lost, at_once=False, trip=TRIP)
    assert found.queries <= 1.05
    assert found.p95 <= 0.05
