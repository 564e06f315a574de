"""``resources/subscribe`` and ``resources/unsubscribe``, for clients before 2026-07-28."""

from __future__ import annotations

from typing import Any

import anyio
from anyio.abc import TaskGroup
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, EmptyResult, SubscribeRequestParams, UnsubscribeRequestParams

from nano_banana_mcp.common.supervise import log_exceptions
from nano_banana_tools.resources import is_mutable
from nano_banana_tools.subscriptions.bus import MAX_URIS, PendingUpdates, ResourceUpdateBus

MAX_SEND_SECONDS = 5.0
"""Timeout for sending one notification to a session."""


class _Session:
    """The subscriptions of one session, and the notifications that are still to be sent."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection  # not the request, which would keep its whole body in memory
        self.uris: set[str] = set()
        self.updates = PendingUpdates(self.uris)

    async def send_updates(self) -> None:
        """Send until cancelled. A session that reads slowly delays no other."""
        while True:
            uri = await self.updates.next()
            with log_exceptions("notifying a session"), anyio.move_on_after(MAX_SEND_SECONDS):
                await self.connection.send_resource_updated(uri)


class SessionSubscriptions:
    """The subscriptions of all sessions.

    Attributes:
        tasks: Where notifications are sent from; set while the server serves.
    """

    def __init__(self, bus: ResourceUpdateBus) -> None:
        self._bus = bus
        self._sessions: dict[int, _Session] = {}
        self.tasks: TaskGroup | None = None

    async def subscribe(self, context: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        """Notify this session of changes from now on.

        A URI that does not exist, or belongs to another caller, is accepted and never notified of; one of a resource
        that cannot change is not stored.

        Raises:
            MCPError: too many listeners, or too many URIs for one session.
        """
        uri = str(params.uri)
        if not is_mutable(uri):
            return EmptyResult()
        session = self._session(context)
        if len(session.uris) >= MAX_URIS:
            raise MCPError(
                INVALID_PARAMS, f"A session can subscribe to at most {MAX_URIS} resources. Unsubscribe from some first."
            )
        session.uris.add(uri)
        return EmptyResult()

    async def unsubscribe(
        self, context: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams
    ) -> EmptyResult:
        """Stop notifying this session."""
        session = self._sessions.get(id(context.session._connection))
        if session is not None:
            session.uris.discard(str(params.uri))
        return EmptyResult()

    def _session(self, context: ServerRequestContext[Any, Any]) -> _Session:
        connection = context.session._connection  # private, but the only object that lives as long as the session
        session = self._sessions.get(id(connection))
        if session is not None:
            return session
        assert self.tasks is not None, "sessions subscribe while the server serves"
        self._bus.check_capacity()
        session = self._sessions[id(connection)] = _Session(connection)
        scope = anyio.CancelScope()
        unsubscribe = self._bus.subscribe(session.updates.on_event)

        def close() -> None:
            unsubscribe()
            scope.cancel()
            self._sessions.pop(id(connection), None)

        async def run() -> None:
            with scope:
                await session.send_updates()

        connection.exit_stack.callback(close)
        self.tasks.start_soon(run)
        return session
