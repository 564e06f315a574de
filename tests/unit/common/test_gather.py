"""Several calls at the same time."""

from __future__ import annotations

import anyio
import pytest

from nano_banana_mcp.common.gather import gather


async def test_the_results_are_in_the_order_of_the_calls_whatever_ends_first() -> None:
    second_ended = anyio.Event()

    async def first() -> str:
        await second_ended.wait()
        return "first"

    async def second() -> str:
        second_ended.set()
        return "second"

    assert await gather([first, second]) == ["first", "second"]
    assert await gather([second]) == ["second"]
    assert await gather([]) == []


@pytest.mark.parametrize("others", [0, 2])
async def test_the_error_of_a_call_is_raised_as_it_is_and_the_others_are_cancelled(others: int) -> None:
    cancelled = []

    async def endless() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)

    async def failing() -> None:
        await anyio.wait_all_tasks_blocked()
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        await gather([*[endless] * others, failing])
    assert len(cancelled) == others
