"""The bus of resource updates: a change of a generation reaches the streams and sessions of its owner only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import anyio
from mcp.server.subscriptions import ResourceUpdated, ServerEvent
from mcp.shared.exceptions import MCPError
from mcp.types import INTERNAL_ERROR

from nano_banana_mcp.common.supervise import log_exceptions
from nano_banana_mcp.common.urls import upload_uri
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.uploads import Upload
from nano_banana_tools.context import principal
from nano_banana_tools.resources import ACCOUNT_URI, TASKS_URI, task_uri

MAX_LISTENERS = 5_000
"""Streams and sessions that may listen at a time."""

MAX_URIS = 1_000
"""Subscriptions of one stream, or of one session of a client before 2026-07-28."""

Listener = Callable[[ServerEvent], None]


class PendingUpdates:
    """The changed resources that a subscriber is still to be notified of, each once: a slow one gets fewer.

    Args:
        uris: The resources it subscribes to; the set may change.
    """

    def __init__(self, uris: Collection[str]) -> None:
        self._uris = uris
        self._pending: dict[str, None] = {}
        self._added = anyio.Event()

    def on_event(self, event: ServerEvent) -> None:
        """Listener of the bus."""
        if isinstance(event, ResourceUpdated) and event.uri in self._uris:
            self.add(event.uri)

    def add(self, uri: str) -> None:
        """Have the subscriber notified of this resource."""
        self._pending[uri] = None
        self._added.set()

    async def next(self) -> str:
        """Wait for a changed resource, and return its URI."""
        while True:
            while not self._pending:
                self._added = anyio.Event()
                await self._added.wait()
            uri = next(iter(self._pending))
            del self._pending[uri]
            if uri in self._uris:  # not unsubscribed meanwhile
                return uri


class ResourceUpdateBus:
    """The SDK's ``SubscriptionBus``, which remembers the owner of each listener.

    Args:
        max_listeners: Streams and sessions that may listen at a time.
    """

    def __init__(self, max_listeners: int = MAX_LISTENERS) -> None:
        self.max_listeners = max_listeners
        self._listeners: dict[object, tuple[str, Listener]] = {}

    @property
    def listeners(self) -> int:
        """Number of streams and sessions that listen now."""
        return len(self._listeners)

    def check_capacity(self) -> None:
        """Check that one more listener is allowed.

        Raises:
            MCPError: ``max_listeners`` is reached.
        """
        if len(self._listeners) >= self.max_listeners:
            raise MCPError(INTERNAL_ERROR, "Too many clients are subscribed to this server. Try again later.")

    async def publish(self, event: ServerEvent) -> None:
        """Notify all listeners of an event that has no owner, such as a changed list of tools."""
        for _, listener in list(self._listeners.values()):
            with log_exceptions("notifying a subscriber"):
                listener(event)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Add a listener of the current caller. Returns the function that removes it."""
        token = object()
        self._listeners[token] = (principal(), listener)
        return lambda: self._listeners.pop(token, None) and None

    def on_change(self, generation: Generation) -> None:
        """Notify the owner's listeners of a changed generation, list of tasks and account."""
        if not self._listeners:
            return
        ids = (generation.public_id, generation.generation_id, generation.batch_id)
        uris = {TASKS_URI, ACCOUNT_URI, *(task_uri(public_id) for public_id in ids if public_id is not None)}
        self._notify(generation.principal, uris)

    def on_upload(self, upload: Upload) -> None:
        """Notify the owner's listeners of a new upload."""
        self._notify(upload.principal, {upload_uri(upload.upload_id), upload_uri(upload.reference_id)})

    def _notify(self, principal: str, uris: Iterable[str]) -> None:
        for owner, listener in list(self._listeners.values()):
            if owner == principal:
                with log_exceptions("notifying a subscriber"):
                    for uri in uris:
                        listener(ResourceUpdated(uri=uri))
