"""Which generations expect a callback of the API, and whether callbacks are trusted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio

from nano_banana_mcp.generations.models import Generation

Value = TypeVar("Value")

MAX_MISSED_IN_A_ROW = 3
"""Consecutive missed callbacks after which they are no longer trusted, until one arrives."""

GRACE_SECONDS = 0.15
"""A callback that arrives this soon after a query found the end is not missed: both were on their way."""

SPACING_SECONDS = 2.0
"""Callbacks for one generation lead to at most one query in this time, however many arrive."""

MAX_REMEMBERED = 10_000
"""Generations remembered for each purpose."""


class CallbackTracker:
    """Tracks expected, received and missed callbacks.

    Callbacks are trusted once one has arrived (before, the address may not be reachable for the API), and until
    :data:`MAX_MISSED_IN_A_ROW` were missed in a row.

    Args:
        address_for: Returns the callback URL for a generation id; None if this server receives no callbacks.
    """

    def __init__(self, address_for: Callable[[str], str] | None) -> None:
        self._address_for = address_for
        self._has_received = False
        self._missed_in_a_row = 0
        self._received: dict[str, None] = {}
        self._unconfirmed: dict[str, float] = {}
        self._next_query_at: dict[str, float] = {}

    @property
    def is_trusted(self) -> bool:
        """Whether callbacks arrive reliably enough to query only now and then."""
        self._count_missed()
        return self._has_received and self._missed_in_a_row < MAX_MISSED_IN_A_ROW

    @property
    def is_enabled(self) -> bool:
        """Whether this server receives callbacks."""
        return self._address_for is not None

    def expect(self, generation_id: str) -> str | None:
        """Return the URL that the API should call when this generation ends; None if this server receives none."""
        return None if self._address_for is None else self._address_for(generation_id)

    def is_expected(self, generation: Generation) -> bool:
        """Whether a trusted callback will report the end of this generation, so that few queries are needed."""
        return self._listens_for(generation) and generation.generation_id not in self._received and self.is_trusted

    def received(self, generation: Generation) -> float | None:
        """Record a callback.

        Returns:
            Seconds until the query that it should lead to; None if no query is needed.
        """
        self._count_missed()
        self._has_received = True
        self._missed_in_a_row = 0
        self._unconfirmed.pop(generation.generation_id, None)
        if generation.is_settled:
            return None
        _remember(self._received, generation.generation_id, None)
        return self._reserve_query(generation.generation_id)

    def missed(self) -> None:
        """Record an end without its callback."""
        self._missed_in_a_row += 1

    def on_end(self, generation: Generation) -> None:
        """Subscriber of the change bus: an end without a callback is counted as missed after a short grace."""
        if generation.generation_id in self._received:
            del self._received[generation.generation_id]
        elif self._listens_for(generation):
            deadline = anyio.current_time() + GRACE_SECONDS
            _remember(self._unconfirmed, generation.generation_id, deadline)

    def reported_elsewhere(self, generation: Generation) -> None:
        """Another process noticed this change, so its callback may have arrived there: it is not missed here."""
        if generation.finished:
            _remember(self._received, generation.generation_id, None)

    def _listens_for(self, generation: Generation) -> bool:
        return self.is_enabled and generation.expects_callback

    def _count_missed(self) -> None:
        now = anyio.current_time()
        for generation_id, deadline in list(self._unconfirmed.items()):
            if deadline > now:
                break  # in the order of their deadlines
            del self._unconfirmed[generation_id]
            self.missed()

    def _reserve_query(self, generation_id: str) -> float | None:
        """Seconds until a query may be sent for this generation; None if one is already reserved."""
        now = anyio.current_time()
        query_at = max(now, self._next_query_at.pop(generation_id, now))
        if query_at > now + SPACING_SECONDS:
            self._next_query_at[generation_id] = query_at
            return None
        _remember(self._next_query_at, generation_id, query_at + SPACING_SECONDS)
        return query_at - now


def _remember(entries: dict[str, Value], generation_id: str, value: Value) -> None:
    """Add an entry as the newest, and drop the oldest beyond :data:`MAX_REMEMBERED`."""
    entries.pop(generation_id, None)
    entries[generation_id] = value
    if len(entries) > MAX_REMEMBERED:
        del entries[next(iter(entries))]
