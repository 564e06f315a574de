"""The pending notifications of a subscriber."""

from __future__ import annotations

import anyio
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated

from nano_banana_tools.subscriptions.bus import PendingUpdates


async def test_a_resource_that_changes_often_is_notified_of_once_until_it_was_taken() -> None:
    updates = PendingUpdates({"a", "b"})
    for uri in ("a", "b", "a", "c"):
        updates.on_event(ResourceUpdated(uri=uri))
    updates.on_event(ResourcesListChanged())
    assert [await updates.next(), await updates.next()] == ["a", "b"]
    with anyio.move_on_after(0.05) as scope:
        await updates.next()
    assert scope.cancelled_caught


async def test_a_resource_that_was_unsubscribed_meanwhile_is_not_notified_of() -> None:
    uris = {"a", "b"}
    updates = PendingUpdates(uris)
    updates.on_event(ResourceUpdated(uri="a"))
    updates.on_event(ResourceUpdated(uri="b"))
    uris.discard("a")
    assert await updates.next() == "b"
