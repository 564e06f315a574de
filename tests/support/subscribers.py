"""Subscriptions of sessions of the older protocol era."""

from __future__ import annotations

import warnings
from typing import Any

import anyio
from mcp.client import Client
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp.types import ElicitCompleteNotification, ResourceUpdatedNotification


async def subscribe(client: Client, uri: str, *, leave: bool = False) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        if leave:
            await client.unsubscribe_resource(uri)  # type: ignore[deprecated]  # the older era has no other
        else:
            await client.subscribe_resource(uri)  # type: ignore[deprecated]  # the older era has no other


class NotificationRecorder:
    """Collects the notifications of a session of the older era: changed resources and ids of finished elicitations."""

    def __init__(self) -> None:
        self.uris: list[str] = []
        self.completed_ids: list[str] = []
        self._more = anyio.Event()

    async def __call__(self, message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            self.uris.append(str(message.params.uri))
        elif isinstance(message, ElicitCompleteNotification):
            self.completed_ids.append(message.params.elicitation_id)
        self._more.set()
        self._more = anyio.Event()

    async def until(self, uri: str) -> None:
        while uri not in self.uris:
            await self._more.wait()

    async def until_completed(self, elicitation_id: str) -> None:
        while elicitation_id not in self.completed_ids:
            await self._more.wait()
