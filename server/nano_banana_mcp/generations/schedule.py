"""When to ask the API for a task's state. Pure: seconds in, seconds out.

Asking at a fixed interval I costs a lag of I/2 and latency/I queries. An interval that grows with the time
already waited keeps the lag small in proportion and the queries few.
"""

from __future__ import annotations

FIRST_QUERY_SECONDS = 2.0
"""No picture is ready sooner after its submit."""

SHARE_OF_ELAPSED = 0.15
SHORTEST_INTERVAL_SECONDS = 1.0
LONGEST_INTERVAL_SECONDS = 5.0
LONGEST_BACKOFF_SECONDS = 15.0


def interval(elapsed: float) -> float:
    """Seconds between two queries, ``elapsed`` seconds after the submit."""
    return min(LONGEST_INTERVAL_SECONDS, max(SHORTEST_INTERVAL_SECONDS, SHARE_OF_ELAPSED * elapsed))


def due_in(elapsed: float, since_last_query: float | None) -> float:
    """Seconds until the next query is due; 0 where it is due now.

    Args:
        elapsed: Seconds since the submit.
        since_last_query: Seconds since the task was last asked for; None if it never was.
    """
    if since_last_query is None:
        return max(0.0, FIRST_QUERY_SECONDS - elapsed)
    return max(0.0, interval(elapsed) - since_last_query)


def backoff(failures: int, retry_after: float | None) -> float:
    """Least seconds to the next query after ``failures`` failed ones in a row."""
    if failures == 0:
        return 0.0
    return max(min(LONGEST_BACKOFF_SECONDS, 2.0 ** (failures - 1)), retry_after or 0.0)
