"""Which intents the API should call back about, how far that can be relied on, and how often to listen."""

from __future__ import annotations

from collections.abc import Callable

import anyio

MISSED_IN_A_ROW = 3
"""So many ends that no callback told, and polling takes over until one comes again."""

SPACING_SECONDS = 2.0
"""However many callbacks come for one intent, they lead to at most one query in so many seconds."""

MOST_EXPECTED = 10_000


class Callbacks:
    """Callbacks are not relied on before the first has come: the address may not be reachable from outside at all.

    Args:
        address_for: Where the API should tell of an intent's end; None where nobody would listen.
    """

    def __init__(self, address_for: Callable[[str], str] | None) -> None:
        self._address_for = address_for
        self._missed = MISSED_IN_A_ROW
        self._awaited: dict[str, None] = {}
        self._quiet_until: dict[str, float] = {}

    def address(self, intent_id: str) -> str | None:
        """Where the API should tell of this intent's end, which is then awaited."""
        if self._address_for is None:
            return None
        self._awaited[intent_id] = None
        if len(self._awaited) > MOST_EXPECTED:
            del self._awaited[next(iter(self._awaited))]
        return self._address_for(intent_id)

    def expected(self, intent_id: str) -> bool:
        """Whether a callback will tell of this intent's end, so that polling is only for the lost ones."""
        return intent_id in self._awaited and self._missed < MISSED_IN_A_ROW

    def came(self, intent_id: str) -> bool:
        """A callback has come. Returns whether it is time to ask, or too soon after another one."""
        self._missed = 0
        self._awaited.pop(intent_id, None)
        moment = anyio.current_time()
        for other in [other for other, until in self._quiet_until.items() if until <= moment]:
            del self._quiet_until[other]
        if intent_id in self._quiet_until:
            return False
        self._quiet_until[intent_id] = moment + SPACING_SECONDS
        return True

    def ended(self, intent_id: str) -> None:
        """A query has found the end."""
        if intent_id in self._awaited:
            del self._awaited[intent_id]
            self._missed += 1
