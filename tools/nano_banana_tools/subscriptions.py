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
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import ListenHandler, ResourceUpdated, ServerEvent
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from nano_banana_mcp.common.supervise import log_exceptions
from nano_banana_mcp.generations.models import Generation
from nano_banana_tools.context import principal
from nano_banana_tools.resources import TASKS_URI, changes, task_uri

logger = logging.getLogger(__name__)

MAX_URIS = 1_000
"""Subscriptions of one session of an older client, or of one stream."""

MAX_LISTENERS = 5_000

MAX_SEND_SECONDS = 5.0

Listener = Callable[[ServerEvent], None]


class OwnedBus:
    """The SDK's bus, which remembers who listens: a change is told to its owner only.

    Args:
        most: How many streams and sessions may listen.
        most_each: How many of them may be one caller's; where nobody is asked who they are, that is not told.
    """

    def __init__(self, most: int = MAX_LISTENERS, most_each: int | None = None) -> None:
        self.most = most
        self._most_each = most_each
        self._listeners: dict[object, tuple[str, Listener]] = {}

    @property
    def listeners(self) -> int:
        """How many streams and sessions listen now."""
        return len(self._listeners)

    def check_room(self) -> None:
        """Whether the caller may listen once more.

        Raises:
            MCPError: there is no room.
        """
        if len(self._listeners) >= self.most:
            raise MCPError(INTERNAL_ERROR, "Too many clients listen to this server now. Try again later.")
        who = principal()
        if who and self._most_each is not None and self._count(who) >= self._most_each:
            words = f"You listen on {self._most_each} streams and sessions, and this server allows no more. End some."
            raise MCPError(INTERNAL_ERROR, words)

    def _count(self, who: str) -> int:
        return sum(1 for owner, _ in self._listeners.values() if owner == who)

    async def publish(self, event: ServerEvent) -> None:
        """Tell everybody: of what belongs to nobody, such as a changed list of tools."""
        for _, listener in list(self._listeners.values()):
            with log_exceptions("telling a listener"):
                listener(event)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Called within the listener's request. Returns how to stop."""
        token = object()
        self._listeners[token] = (principal(), listener)
        return lambda: self._listeners.pop(token, None) and None

    def changed(self, generation: Generation) -> None:
        """Tell its owner that a generation has changed, and with it the list of theirs."""
        uris = {task_uri(generation.public_id), task_uri(generation.generation_id), TASKS_URI}
        for owner, listener in list(self._listeners.values()):
            if owner == generation.principal:
                with log_exceptions("telling a listener"):
                    for uri in uris:
                        listener(ResourceUpdated(uri=uri))


@dataclass(eq=False)
class _Session:
    """The subscriptions of one session of an older client, and what it is still to be told."""

    connection: Connection  # not the request: that would keep its whole body
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
                with log_exceptions("telling a session"), anyio.move_on_after(MAX_SEND_SECONDS):
                    await self.connection.send_resource_updated(uri)


class Listening(ListenHandler):
    """Serves ``subscriptions/listen``: to each caller so many streams, and of each only what can be told."""

    def __init__(self, bus: OwnedBus) -> None:
        super().__init__(bus, max_subscriptions=bus.most)
        self._room = bus

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Serve one stream."""
        self._room.check_room()
        wanted = params.notifications
        uris = list(dict.fromkeys(uri for uri in wanted.resource_subscriptions or () if changes(uri)))
        if len(uris) > MAX_URIS:
            raise MCPError(INVALID_PARAMS, f"A stream may tell of {MAX_URIS} resources; open another.")
        kept = wanted.model_copy(update={"resource_subscriptions": uris or None})
        return await super().__call__(ctx, SubscriptionsListenRequestParams(notifications=kept))


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
        """Tell this session from now on. A URI of nobody, or of somebody else, is never told of; one of no task is
        not even kept.
        """
        uri = str(params.uri)
        if not changes(uri):
            return EmptyResult()
        session = self._session(context)
        if len(session.uris) >= MAX_URIS:
            raise MCPError(INVALID_PARAMS, f"A session may subscribe to {MAX_URIS} resources; unsubscribe from some.")
        session.uris.add(uri)
        return EmptyResult()

    async def unsubscribe(
        self, context: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams
    ) -> EmptyResult:
        """Tell this session no more."""
        known = self._sessions.get(id(context.session._connection))
        if known is not None:
            known.uris.discard(str(params.uri))
        return EmptyResult()

    def _session(self, context: ServerRequestContext[Any, Any]) -> _Session:
        connection = context.session._connection  # private, but the only thing that lives as long as the session
        known = self._sessions.get(id(connection))
        if known is not None:
            return known
        assert self.tasks is not None, "sessions subscribe while the server serves"
        self._bus.check_room()
        session = self._sessions[id(connection)] = _Session(connection)
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
