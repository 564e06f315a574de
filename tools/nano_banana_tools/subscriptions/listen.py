"""``subscriptions/listen``, for clients of 2026-07-28 and later."""

from __future__ import annotations

from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, SubscriptionsListenRequestParams, SubscriptionsListenResult

from nano_banana_tools.resources import is_mutable
from nano_banana_tools.subscriptions.bus import MAX_URIS, ResourceUpdateBus


class BoundedListenHandler(ListenHandler):
    """The SDK's handler with limits, which keeps only URIs of resources that can change."""

    def __init__(self, bus: ResourceUpdateBus) -> None:
        super().__init__(bus, max_subscriptions=bus.max_listeners)
        self._updates = bus

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Serve one stream.

        Raises:
            MCPError: too many listeners, or too many URIs for one stream.
        """
        self._updates.check_capacity()
        requested = params.notifications
        uris = list(dict.fromkeys(uri for uri in requested.resource_subscriptions or () if is_mutable(uri)))
        if len(uris) > MAX_URIS:
            raise MCPError(INVALID_PARAMS, f"A stream can subscribe to at most {MAX_URIS} resources. Open another one.")
        accepted = requested.model_copy(update={"resource_subscriptions": uris or None})
        return await super().__call__(ctx, SubscriptionsListenRequestParams(notifications=accepted))
