"""Run several calls at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

T = TypeVar("T")


async def gather(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Run all calls at the same time, and return their results in order.

    Raises:
        Exception: The first error of a call, as it is; the other calls are cancelled.
    """
    if len(calls) == 1:  # a single generation is the usual case, and a task group costs more than some calls
        return [await calls[0]()]
    results: dict[int, T] = {}

    async def run(number: int, call: Callable[[], Awaitable[T]]) -> None:
        results[number] = await call()

    try:
        async with anyio.create_task_group() as tasks:
            for number, call in enumerate(calls):
                tasks.start_soon(run, number, call)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return [results[number] for number in range(len(calls))]
