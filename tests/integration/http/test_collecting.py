"""When a server collects its garbage, which stops everything while it lasts."""

from nano_banana_mcp.http.server import MIN_ROUNDS, Crowd

TICKS_A_SECOND = 10


def test_with_few_clients_it_is_collected_after_ten_rounds() -> None:
    crowd = Crowd()
    assert not crowd.bears_collecting(5, 20, MIN_ROUNDS - 1)
    assert crowd.bears_collecting(5, 20, MIN_ROUNDS)


def test_a_thousand_waiting_calls_are_not_stopped_for_what_they_leave_in_half_a_minute() -> None:
    crowd = Crowd()
    assert not crowd.bears_collecting(1_000, 1_000, 250)


def test_a_thousand_idle_connections_put_it_off_for_less() -> None:
    crowd = Crowd()
    assert not crowd.bears_collecting(0, 1_000, 29)
    assert crowd.bears_collecting(0, 1_000, 30)


def test_however_many_there_are_what_they_leave_behind_is_bounded() -> None:
    crowd = Crowd()
    assert crowd.bears_collecting(1_000, 1_000, 1_000)


def test_a_crowd_that_has_just_left_still_counts_since_the_last_answers_are_on_their_way() -> None:
    crowd = Crowd()
    crowd.bears_collecting(1_000, 1_000, 0)
    second = [crowd.bears_collecting(50, 1_000, 250) for _ in range(TICKS_A_SECOND)]
    assert not any(second)


def test_what_a_crowd_has_left_behind_is_collected_within_ten_seconds() -> None:
    crowd = Crowd()
    crowd.bears_collecting(1_000, 1_000, 0)
    seconds = [crowd.bears_collecting(0, 0, MIN_ROUNDS) for _ in range(10 * TICKS_A_SECOND)]
    assert seconds[-1]
