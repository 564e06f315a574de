"""The pace of each wait, by what is known of its like and of the callbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio

from nano_banana_mcp.generations.callbacks import Callbacks
from nano_banana_mcp.generations.ledger import Ledger
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.schedule import Pace, SafetyPace

KEPT_SECONDS = 1.0


class Paces:
    """Hands out paces. A thousand waits think again at once: what they share is read and fitted once a second.

    Args:
        api: What the ledger calls the API.
        opened: Seconds since the submit of this model's tasks that are waited for now.
    """

    def __init__(
        self, ledger: Ledger, api: str, callbacks: Callbacks, opened: Callable[[str | None], Sequence[float]]
    ) -> None:
        self._ledger = ledger
        self._api = api
        self._callbacks = callbacks
        self._opened = opened
        self._kept: dict[tuple[str | None, bool], tuple[float, Pace]] = {}
        self._one_at_a_time = anyio.Lock()

    def forget(self) -> None:
        """What is known of callbacks has changed."""
        self._kept.clear()

    async def of(self, known: Generation) -> Pace:
        """The pace at which to ask for a task."""
        key = (known.model, self._callbacks.expected(known.intent_id))
        if (pace := self._fresh(key)) is None:
            async with self._one_at_a_time:
                if (pace := self._fresh(key)) is None:
                    pace = await self._made(*key)
                    self._kept.pop(key, None)
                    self._kept[key] = (anyio.current_time(), pace)
                    self._drop_old()
        return pace

    def _fresh(self, key: tuple[str | None, bool]) -> Pace | None:
        kept = self._kept.get(key)
        return None if kept is None or anyio.current_time() - kept[0] >= KEPT_SECONDS else kept[1]

    async def _made(self, model: str | None, told: bool) -> Pace:
        latencies = await self._ledger.latencies(model, self._api) if model else ()
        if not told:
            return Pace(latencies)
        return SafetyPace(latencies, self._opened(model) if latencies else (), self._callbacks.lost_share)

    def _drop_old(self) -> None:
        """Models are any text that callers name."""
        for key, (made_at, _) in list(self._kept.items()):
            if anyio.current_time() - made_at < KEPT_SECONDS:
                break
            del self._kept[key]
