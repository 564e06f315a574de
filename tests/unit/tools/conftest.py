import pytest

from nano_banana_mcp.defapi import retry
from nano_banana_mcp.tracking import schedule


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here is what a host sees; the pauses have tests of their own, on a virtual clock."""
    monkeypatch.setattr(schedule, "FIRST_QUERY_SECONDS", 0.0)
    monkeypatch.setattr(schedule, "MIN_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(schedule, "MAX_BACKOFF_SECONDS", 0.05)
    monkeypatch.setattr(retry, "FIRST_CEILING_SECONDS", 0.0)
