"""One ledger after another: in memory, on disk and in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from nano_banana_mcp.ledger.async_ledger import DurableLedger
from nano_banana_mcp.ledger.base import Ledger, MemoryLedger

KINDS = ["memory", "disk", "PostgreSQL"]
READ_BY_ANOTHER = [f"{kind}, read by another process" for kind in KINDS[1:]]


@pytest.fixture(params=[*KINDS, *READ_BY_ANOTHER])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    kind, _, by_another = request.param.partition(",")
    if kind == "memory":
        yield MemoryLedger()
        return
    open_another = opener(request, kind, tmp_path / "state")
    if by_another:
        yield TwoProcesses(open_another)
        return
    durable = open_another()
    yield durable
    assert durable.problem is None
    await durable.aclose()


def opener(request: pytest.FixtureRequest, kind: str, folder: Path) -> Callable[[], DurableLedger]:
    """What opens one and the same ledger again and again."""
    if kind == "disk":
        return lambda: DurableLedger(folder)
    from nano_banana_mcp.ledger.notifications import SharedLedger

    url = request.getfixturevalue("database")
    return lambda: SharedLedger(url)


class TwoProcesses:
    """Every call goes to a ledger that is opened afresh, as another process would."""

    problem: str | None = None
    shared = False

    def __init__(self, open_another: Callable[[], DurableLedger]) -> None:
        self._open = open_another

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(*arguments: object) -> Any:
            durable = self._open()
            try:
                result = await getattr(durable, name)(*arguments)
                assert durable.problem is None
                return result
            finally:
                await durable.aclose()

        return call
