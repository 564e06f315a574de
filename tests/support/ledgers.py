"""The fixture `ledger`: one ledger after another, in memory, in a file and in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from nano_banana_mcp.ledger.async_ledger import DurableLedger
from nano_banana_mcp.ledger.base import Ledger

KINDS = [
    "memory",
    "file",
    "file, read by another process",
    pytest.param("PostgreSQL", marks=pytest.mark.slow),
    pytest.param("PostgreSQL, read by another process", marks=pytest.mark.slow),
]


def memory_ledger() -> DurableLedger:
    """A ledger that lives as long as the test."""
    return DurableLedger(None)


@pytest.fixture(params=KINDS)
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    """Every kind of ledger; some with each call from another process."""
    kind, _, by_another = request.param.partition(",")
    open_another = opener(request, kind, tmp_path / "state")
    if by_another:
        yield TwoProcesses(open_another)
        return
    opened = open_another()
    yield opened
    assert opened.problem is None
    await opened.aclose()


def opener(request: pytest.FixtureRequest, kind: str, folder: Path) -> Callable[[], DurableLedger]:
    """What opens the same ledger again and again."""
    if kind == "memory":
        return memory_ledger
    if kind == "file":
        return lambda: DurableLedger(folder)
    from nano_banana_mcp.ledger.notifications import SharedLedger

    url = request.getfixturevalue("database")
    return lambda: SharedLedger(url)


class TwoProcesses:
    """A ledger that is opened afresh for every call, as by another process."""

    problem: str | None = None
    stores_images = False

    def __init__(self, open_another: Callable[[], DurableLedger]) -> None:
        self._open = open_another

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(*arguments: object) -> Any:
            opened = self._open()
            try:
                result = await getattr(opened, name)(*arguments)
                assert opened.problem is None
                return result
            finally:
                await opened.aclose()

        return call
