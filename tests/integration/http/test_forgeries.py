"""Forged, malformed and replayed callbacks: nothing changes, few queries go. ``make bench`` sends ten thousand."""

from __future__ import annotations

import sys

import pytest

from tests.support.forgeries import attacked

FORGERIES = 400
MAX_GROWTH_BYTES = 6 * 1024 * 1024

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")


async def test_hundreds_of_forgeries_change_nothing_and_cost_next_to_nothing() -> None:
    outcome = await attacked(FORGERIES)
    assert outcome.unexpected == []
    assert outcome.growth <= MAX_GROWTH_BYTES
    assert set(outcome.queries) == {outcome.done, outcome.left_open}
    assert outcome.queries[outcome.done] == outcome.spent_on_done
    assert 1 <= outcome.queries[outcome.left_open] <= outcome.max_queries
    assert outcome.changes == 0
