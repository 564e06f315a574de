"""Who wants to know when a task changes, in both protocol eras; and nobody learns of another's task.

A client of 2026-07-28 listens on a stream of its own (``subscriptions/listen``), which the SDK serves from a bus. Older
clients name URIs one by one (``resources/subscribe``) and are told on their session's stream.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import ResourceUpdated, ServerEvent
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    EmptyResult,
    ResourceUpdatedNotification,
    ResourceUpdatedNotificationParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)

from nano_banana_mcp.generations.audience import Audience
from nano_banana_mcp.generations.guard import guard
from nano_banana_mcp.generations.models import Generation
from nano_banana_tools.context import principal
from nano_banana_tools.resources import TASKS_URI, task_uri

logger = logging.getLogger(__name__)

MOST_URIS = 1_000
"""Subscriptions of one session of an older client."""

LONGEST_SEND_SECONDS = 5.0

Listener = Callable[[ServerEvent], None]


class OwnedBus(Audience):
    """The SDK's bus, which remembers who listens: a change is told to its owner only."""

    def __init__(self) -> None:
        self._listeners: dict[object, tuple[str, Listener]] = {}

    @property
    def listeners(self) -> int:
        """How many streams and sessions listen now."""
        return len(self._listeners)

    async def publish(self, event: ServerEvent) -> None:
        """Tell everybody: of what belongs to nobody, such as a changed list of tools."""
        for _, listener in list(self._listeners.values()):
            with guard("telling a listener"):
                listener(event)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Called within the listener's request. Returns how to stop."""
        token = object()
        self._listeners[token] = (principal(), listener)
        return lambda: self._listeners.pop(token, None) and None

    def changed(self, generation: Generation) -> None:
        """Tell its owner that a generation has changed, and with it the list of theirs."""
        uris = {task_uri(generation.handle), task_uri(generation.intent_id), TASKS_URI}
        for owner, listener in list(self._listeners.values()):
            if owner == generation.principal:
                with guard("telling a listener"):
                    for uri in uris:
                        listener(ResourceUpdated(uri=uri))


@dataclass(eq=False)
class _Session:
    """The subscriptions of one session of an older client, and what it is still to be told."""

    context: ServerRequestContext[Any, Any]
    uris: set[str] = field(default_factory=set)
    untold: dict[str, None] = field(default_factory=dict)
    more: anyio.Event = field(default_factory=anyio.Event)

    def hear(self, event: ServerEvent) -> None:
        if isinstance(event, ResourceUpdated) and event.uri in self.uris:
            self.untold[event.uri] = None
            self.more.set()

    async def tell(self) -> None:
        """Until cancelled: one that does not read is told less often, and delays nobody."""
        while True:
            await self.more.wait()
            self.more = anyio.Event()
            while self.untold:
                uri = next(iter(self.untold))
                del self.untold[uri]
                with guard("telling a session"), anyio.move_on_after(LONGEST_SEND_SECONDS):
                    await self.context.session.send_notification(
                        ResourceUpdatedNotification(params=ResourceUpdatedNotificationParams(uri=uri))
                    )


class SessionSubscriptions:
    """Serves ``resources/subscribe`` and ``resources/unsubscribe`` of clients before 2026-07-28.

    Attributes:
        tasks: Where the sessions' tellers run, while the server serves.
    """

    def __init__(self, bus: OwnedBus) -> None:
        self._bus = bus
        self._sessions: dict[int, _Session] = {}
        self.tasks: TaskGroup | None = None

    async def subscribe(self, context: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        """Tell this session from now on. A URI of nobody, or of somebody else, is never told of."""
        session = self._session(context)
        if len(session.uris) >= MOST_URIS:
            raise MCPError(INVALID_PARAMS, f"A session may subscribe to {MOST_URIS} resources; unsubscribe from some.")
        session.uris.add(str(params.uri))
        return EmptyResult()

    async def unsubscribe(
        self, context: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams
    ) -> EmptyResult:
        """Tell this session no more."""
        self._session(context).uris.discard(str(params.uri))
        return EmptyResult()

    def _session(self, context: ServerRequestContext[Any, Any]) -> _Session:
        connection = context.session._connection  # private, but the only thing that lives as long as the session
        known = self._sessions.get(id(connection))
        if known is not None:
            return known
        assert self.tasks is not None, "sessions subscribe while the server serves"
        session = self._sessions[id(connection)] = _Session(context)
        scope = anyio.CancelScope()
        stop = self._bus.subscribe(session.hear)

        def forget() -> None:
            stop()
            scope.cancel()
            self._sessions.pop(id(connection), None)

        async def run() -> None:
            with scope:
                await session.tell()

        connection.exit_stack.callback(forget)
        self.tasks.start_soon(run)
        return session
