"""Ten thousand forged, malformed and replayed callbacks: nothing changes, few queries go, memory stays flat."""

from __future__ import annotations

import sys

import pytest

from tests.support.forgeries import attacked

FORGERIES = 10_000
MAX_GROWTH_BYTES = 6 * 1024 * 1024

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")


async def test_ten_thousand_forgeries_change_nothing_and_cost_next_to_nothing() -> None:
    found = await attacked(FORGERIES)
    assert found.unexpected == []
    assert found.grown <= MAX_GROWTH_BYTES
    assert set(found.queries) == {found.done, found.left_open}
    assert found.queries[found.done] == found.spent_on_done
    assert 1 <= found.queries[found.left_open] <= found.max_queries
    assert found.changes == 0
