"""One run of a coroutine for all callers that want the same result at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")


@dataclass(eq=False)
class _Call(Generic[T]):
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    callers: int = 0
    result: T | None = None
    error: Exception | None = None


class SharedCalls(Generic[T]):
    """Runs one call a key at a time. A caller that is cancelled does not cancel the result for the others."""

    def __init__(self) -> None:
        self._calls: dict[Hashable, _Call[T]] = {}

    async def run(self, key: Hashable, work: Callable[[], Awaitable[T]], *, errors: tuple[type[Exception], ...]) -> T:
        """Return what ``work`` returns, or what it returns for another caller with the same key right now.

        Args:
            key: Identifies the result.
            work: Produces it.
            errors: Classes of the errors that all waiting callers share.
        """
        call = self._calls.setdefault(key, _Call())
        call.callers += 1
        try:
            async with call.lock:  # if the caller that runs it is cancelled, the next one runs it again
                if call.result is None and call.error is None:
                    try:
                        call.result = await work()
                    except errors as error:
                        call.error = error
        finally:
            call.callers -= 1
            if call.callers == 0:
                del self._calls[key]
        if call.error is not None:
            raise call.error
        assert call.result is not None
        return call.result
