"""Which intents the API should call back about, how far that can be relied on, and how often to listen.

And the pace of each wait, by that and by what is known of its like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.ledger.base import Ledger
from nano_banana_mcp.tracking.purse import Purse
from nano_banana_mcp.tracking.schedule import Pace, SafetyPace

MISSED_IN_A_ROW = 3
"""So many ends that no callback told, and polling takes over until one comes again."""

GRACE_SECONDS = 0.15
"""A callback that comes so soon after a query has found the end was not lost: both were on their way."""

SPACING_SECONDS = 2.0
"""However many callbacks come for one intent, they lead to at most one query in so many seconds."""

MAX_EXPECTED = 10_000
MAX_MISSING = 1_000

# Before anything was seen, few callbacks are expected to be lost; what was seen long ago counts less and less.
_PRIOR_LOST, _PRIOR_SEEN = 0.06, 2.0
_KEPT_EACH_TIME = 0.98


class CallbackTracker:
    """How far callbacks are relied on.

    Before the first has come nobody knows whether any will, since the address may not be reachable from outside:
    they are relied on, but one end that none told is enough to poll. After that it takes several in a row.

    Args:
        address_for: Where the API should tell of an intent's end; None where nobody would listen.

    Attributes:
        on_change: Called whenever waits should think again about when to ask.
    """

    def __init__(self, address_for: Callable[[str], str] | None) -> None:
        self._address_for = address_for
        self._awaited: dict[str, None] = {}
        self._heard: set[str] = set()
        self._untold: dict[str, None] = {}
        self._missing: dict[str, None] = {}
        self._spent: dict[str, None] = {}
        self._free_from: dict[str, float] = {}
        self._proven = False
        self._changed = False
        self._missed = 0
        self._told = 0.0
        self._lost = 0.0
        self.purse = Purse()
        self.on_change: Callable[[], None] = lambda: None

    def address(self, generation_id: str) -> str | None:
        """Where the API should tell of this intent's end, which is then awaited."""
        if self._address_for is None:
            return None
        self._await(generation_id)
        self.purse.submitted(len(self._awaited))
        return self._address_for(generation_id)

    def adopt(self, generation_id: str) -> None:
        """Another process has given the API an address of ours for this intent: its callback may come here."""
        if self._address_for is not None and generation_id not in self._awaited and generation_id not in self._spent:
            self._await(generation_id)

    def expected(self, generation_id: str) -> bool:
        """Whether a callback will tell of this intent's end, so that polling is only for the lost ones."""
        return generation_id in self._awaited and self._relied_on

    @property
    def lost_share(self) -> float | None:
        """The share of callbacks that are lost, by what was seen; None before the first has come."""
        if not self._proven:
            return None
        return (self._lost + _PRIOR_LOST) / (self._told + self._lost + _PRIOR_SEEN)

    def came(self, generation_id: str) -> float | None:
        """A callback has come for an intent whose end is not known.

        Returns seconds until it is time to ask; None where a question is to be asked already.
        """
        if generation_id in self._awaited and generation_id not in self._heard:
            self._heard.add(generation_id)
            self._saw(told=1)
        self._trust()
        return self._spaced(generation_id)

    def came_late(self, generation_id: str) -> None:
        """A callback has come for an end that is known: it counts if it is the first one."""
        if generation_id in self._untold or generation_id in self._missing:
            self._untold.pop(generation_id, None)
            self._missing.pop(generation_id, None)
            self._saw(told=1)
            self._trust()
            self._tell_change()

    def did_not_end(self, generation_id: str) -> None:
        """A callback has come, and yet a query has found the task open: its end may not be told again."""
        self._forget(generation_id)
        self._spent[generation_id] = None
        if len(self._spent) > MAX_MISSING:
            del self._spent[next(iter(self._spent))]
        self._tell_change()

    def ended(self, generation_id: str) -> bool:
        """A query has found the end. Returns whether to call :meth:`settle` in :data:`GRACE_SECONDS`, when it is
        known whether its callback was lost."""
        told = generation_id in self._heard or generation_id not in self._awaited
        self._forget(generation_id)
        if not told:
            self._untold[generation_id] = None
            self.purse.found()
            if not self._proven and len(self._untold) >= MISSED_IN_A_ROW:
                for each in list(self._untold):
                    self.settle(each)
        self._tell_change()
        return not told

    def settle(self, generation_id: str) -> None:
        """The callback for an end that a query has found had its time to come."""
        if generation_id not in self._untold:
            return
        del self._untold[generation_id]
        self._missing[generation_id] = None
        if len(self._missing) > MAX_MISSING:
            del self._missing[next(iter(self._missing))]
        self._missed += 1
        self._saw(lost=1)
        self.purse.lost()
        self.on_change()

    def _await(self, generation_id: str) -> None:
        self._awaited[generation_id] = None
        if len(self._awaited) > MAX_EXPECTED:
            self._forget(next(iter(self._awaited)))

    def _trust(self) -> None:
        self._changed = self._changed or not self._relied_on or not self._proven
        self._missed, self._proven = 0, True

    def _tell_change(self) -> None:
        if self._changed:
            self._changed = False
            self.on_change()

    @property
    def _relied_on(self) -> bool:
        return self._missed < (MISSED_IN_A_ROW if self._proven else 1)

    def _forget(self, generation_id: str) -> None:
        self._heard.discard(generation_id)
        self._awaited.pop(generation_id, None)

    def _saw(self, *, told: int = 0, lost: int = 0) -> None:
        self._told = self._told * _KEPT_EACH_TIME + told
        self._lost = self._lost * _KEPT_EACH_TIME + lost

    def _spaced(self, generation_id: str) -> float | None:
        moment = anyio.current_time()
        while self._free_from:  # in the order of their questions, near enough
            oldest = next(iter(self._free_from))
            if self._free_from[oldest] > moment:
                break
            del self._free_from[oldest]
        free_from = max(moment, self._free_from.pop(generation_id, moment))
        if free_from > moment + SPACING_SECONDS:
            self._free_from[generation_id] = free_from
            return None
        self._free_from[generation_id] = free_from + SPACING_SECONDS
        return free_from - moment


KEPT_SECONDS = 1.0


class Paces:
    """Hands out paces. A thousand waits think again at once: what they share is read and fitted once a second.

    Args:
        api: What the ledger calls the API.
        opened: Seconds since the submit of this model's tasks that are waited for now.
    """

    def __init__(
        self, ledger: Ledger, api: str, callbacks: CallbackTracker, opened: Callable[[str | None], Sequence[float]]
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
        key = (known.model, self._callbacks.expected(known.generation_id))
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
