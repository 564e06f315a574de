"""Publishes changed generations to the parts of the server that subscribe."""

from __future__ import annotations

import logging
from collections.abc import Callable

from nano_banana_mcp.generations.models import Generation

logger = logging.getLogger(__name__)

Subscriber = Callable[[Generation], None]


class ChangeBus:
    """Delivers changed generations: ends to the subscribers of ends, then every change to the others, each in the order
    of their subscriptions."""

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []
        self._end_subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call ``subscriber`` with each generation that is published from now on. It must not block."""
        self._subscribers.append(subscriber)

    def subscribe_to_ends(self, subscriber: Subscriber) -> None:
        """As :meth:`subscribe`, for finished generations alone."""
        self._end_subscribers.append(subscriber)

    def publish(self, generation: Generation) -> None:
        """Report a changed generation. A subscriber that raises is logged and does not hinder the others."""
        subscribers = self._subscribers
        if generation.finished:
            subscribers = self._end_subscribers + subscribers
        for subscriber in subscribers:
            try:
                subscriber(generation)
            except Exception:
                logger.exception("A subscriber of changed generations failed.")
