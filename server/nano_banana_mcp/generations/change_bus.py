"""Publishes changed generations to the parts of the server that subscribe."""

from __future__ import annotations

import logging
from collections.abc import Callable

from nano_banana_mcp.generations.models import Generation

logger = logging.getLogger(__name__)

Subscriber = Callable[[Generation], None]


class ChangeBus:
    """Delivers each changed generation to all subscribers, in the order in which they subscribed."""

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call ``subscriber`` with each generation that is published from now on. It must not block."""
        self._subscribers.append(subscriber)

    def publish(self, generation: Generation) -> None:
        """Report a changed generation. A subscriber that raises is logged and does not hinder the others."""
        for subscriber in self._subscribers:
            try:
                subscriber(generation)
            except Exception:
                logger.exception("A subscriber of changed generations failed.")
