"""When the API is queried about an unfinished task. Pure: no clock and no network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Pauses between the queries for one task. All times are in seconds.

    Attributes:
        first: From the submit to the first query.
        interval_share: Pause between two queries, as a share of the time since the submit.
        min_interval: Shortest pause between two queries.
        max_interval: Longest pause between two queries.
        safety_interval: Pause between two queries where a trusted callback is expected.
        safety_jitter: Random part of ``safety_interval``, as a share of it in both directions.
        review: Longest sleep, after which trust in callbacks is checked again.
        max_backoff: Longest pause after failed queries.
        max_retry_after: Longest pause that the API can ask for: one wrong header must not hide the end of a task.
        sweep_first: From the submit to the first query for a task without a waiter.
        sweep_first_with_callback: The same where a trusted callback is expected.
        min_sweep_interval: Shortest pause between two queries for a task without a waiter.
        max_sweep_interval: Longest pause between two such queries while the task is young.
        sweep_patience: Age of a task at which those pauses begin to grow: by a quarter of the time since then.
    """

    first: float = 2.0
    interval_share: float = 0.1
    min_interval: float = 1.0
    max_interval: float = 5.0
    safety_interval: float = 15.0
    safety_jitter: float = 0.2
    review: float = 2.0
    max_backoff: float = 30.0
    max_retry_after: float = 60.0
    sweep_first: float = 20.0
    sweep_first_with_callback: float = 90.0
    min_sweep_interval: float = 10.0
    max_sweep_interval: float = 20.0
    sweep_patience: float = 600.0

    def pause(
        self, elapsed: float, since_query: float | None, *, expects_callback: bool = False, jitter: float = 0.0
    ) -> float:
        """Seconds until the next query for a task with a waiter; 0 or less if it is due.

        Args:
            elapsed: Seconds since the submit.
            since_query: Seconds since the last query; None before the first.
            expects_callback: Whether a trusted callback is expected.
            jitter: A random number between -1 and 1, drawn once for each query.
        """
        if expects_callback:
            interval = self.safety_interval * (1 + self.safety_jitter * jitter)
            return interval - (elapsed if since_query is None else since_query)
        if since_query is None:
            return self.first - elapsed
        return self._interval(elapsed - since_query) - since_query

    def poll_interval(self, elapsed: float) -> float:
        """Seconds after which a client that polls should do so again.

        Args:
            elapsed: Seconds since the submit.
        """
        return max(self.first - elapsed, self._interval(elapsed))

    def backoff(self, failures: int, retry_after: float | None = None) -> float:
        """Shortest pause in seconds after ``failures`` failed queries in a row.

        Args:
            failures: Failed queries in a row; 0 for none.
            retry_after: Seconds that the API asked for; at most ``max_retry_after`` of them count.
        """
        if failures == 0:
            return 0.0
        return max(min(self.max_backoff, 2.0 ** min(failures - 1, 16)), min(self.max_retry_after, retry_after or 0.0))

    def sweep_pause(self, elapsed: float, since_query: float | None, *, expects_callback: bool = False) -> float:
        """Seconds until the next query for a task without a waiter; the arguments are those of :meth:`pause`."""
        if since_query is None:
            return (self.sweep_first_with_callback if expects_callback else self.sweep_first) - elapsed
        interval = min(self.max_sweep_interval, max(self.min_sweep_interval, elapsed / 4))
        return max(interval, (elapsed - self.sweep_patience) / 4) - since_query

    def _interval(self, elapsed: float) -> float:
        return min(self.max_interval, max(self.min_interval, self.interval_share * elapsed))
