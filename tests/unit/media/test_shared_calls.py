"""One call for all who want the same result at the same time."""

from __future__ import annotations

import anyio
import pytest

from nano_banana_mcp.media.shared_calls import SharedCalls


class Work:
    """Waits until it is allowed to end."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs = 0
        self.started = anyio.Event()
        self.allowed = anyio.Event()
        self._error = error

    async def __call__(self) -> str:
        self.runs += 1
        self.started.set()
        await self.allowed.wait()
        if self._error is not None:
            raise self._error
        return "result"


@pytest.mark.parametrize("error", [None, LookupError("lost")])
async def test_all_callers_share_one_call_and_its_error(error: Exception | None) -> None:
    calls: SharedCalls[str] = SharedCalls()
    work = Work(error)
    ends: list[object] = []

    async def call() -> None:
        try:
            ends.append(await calls.run("key", work, errors=(LookupError,)))
        except LookupError as shared:
            ends.append(shared)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(call)
        await work.started.wait()
        work.allowed.set()
    assert ends == [error or "result"] * 5
    assert work.runs == 1


async def test_a_cancelled_caller_leaves_the_result_to_the_others() -> None:
    calls: SharedCalls[str] = SharedCalls()
    work = Work()
    ends: list[str] = []

    async def call() -> None:
        ends.append(await calls.run("key", work, errors=(LookupError,)))

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as cancelled:
                cancelled.start_soon(call)
                await work.started.wait()
                tasks.start_soon(call)
                await anyio.lowlevel.checkpoint()
                scope.cancel()
        work.allowed.set()
    assert ends == ["result"]
    assert work.runs == 2


async def test_different_keys_do_not_wait_for_each_other_and_a_result_is_not_kept() -> None:
    calls: SharedCalls[str] = SharedCalls()
    slow, quick = Work(), Work()
    quick.allowed.set()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: calls.run("slow", slow, errors=(LookupError,)))
        await slow.started.wait()
        for _ in range(2):
            assert await calls.run("quick", quick, errors=(LookupError,)) == "result"
        slow.allowed.set()
    assert quick.runs == 2
