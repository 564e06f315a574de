"""Subscribers of a task are notified when it changes, in both protocol eras, without a call that waits for it."""

from __future__ import annotations

import json
import signal

import anyio
import pytest
from anyio.to_thread import run_sync as in_thread
from mcp.client import Client
from mcp.shared.subscriptions import ResourceUpdated
from mcp.types import TextResourceContents

from nano_banana_mcp.app import open_service
from nano_banana_mcp.http.server import GRACE_SECONDS
from nano_banana_mcp.settings import load_settings
from nano_banana_tools.server import ImageServer
from nano_banana_tools.subscriptions.bus import ResourceUpdateBus
from tests.support.clients import WITHOUT_QUERIES, client_at
from tests.support.http_server import at, make, reachable, served, served_process
from tests.support.sandbox import plain_config, plain_sandbox
from tests.support.subscribers import NotificationRecorder, subscribe


async def status_of(client: Client, uri: str) -> str:
    contents = (await client.read_resource(uri)).contents[0]
    assert isinstance(contents, TextResourceContents)
    return str(json.loads(contents.text)["status"])


async def test_a_callback_notifies_a_listener_of_the_newer_era_that_its_image_is_ready() -> None:
    async with reachable(plain_config(seconds=2.0), WITHOUT_QUERIES) as (sandbox, _, client):
        task_id = await make(client)
        uri = f"nanobanana://tasks/{task_id}"
        with anyio.fail_after(60):
            async with client.listen(resource_subscriptions=[uri]) as events:
                async for event in events:
                    assert event == ResourceUpdated(uri=uri)
                    if await status_of(client, uri) == "success":
                        break
        assert sandbox.stats.queries_by_task[task_id] == 1


async def test_a_change_of_the_list_of_tasks_is_notified_too() -> None:
    async with (
        plain_sandbox(seconds=3600) as sandbox,
        served(**at(sandbox.url)) as server,
        Client(server.url) as client,
    ):
        with anyio.fail_after(60):
            async with client.listen(resource_subscriptions=["nanobanana://tasks"]) as events:
                await make(client)
                assert await anext(aiter(events)) == ResourceUpdated(uri="nanobanana://tasks")


async def test_a_callback_notifies_a_session_of_the_older_era() -> None:
    notifications = NotificationRecorder()
    async with (
        reachable(plain_config(seconds=2.0), WITHOUT_QUERIES) as (_, server, _client),
        Client(server.url, mode="legacy", message_handler=notifications) as client,
    ):
        capabilities = client.server_capabilities.resources
        assert capabilities is not None
        assert capabilities.subscribe
        task_id = await make(client)
        uri = f"nanobanana://tasks/{task_id}"
        await subscribe(client, uri)
        with anyio.fail_after(60):
            await notifications.until(uri)
        assert await status_of(client, uri) == "success"


async def test_an_unsubscribed_session_is_no_longer_notified() -> None:
    notifications = NotificationRecorder()
    async with (
        plain_sandbox(seconds=0.5) as sandbox,
        client_at(sandbox.url, mode="legacy", message_handler=notifications) as client,
    ):
        first, second = await make(client), await make(client)
        for task_id in (first, second):
            await subscribe(client, f"nanobanana://tasks/{task_id}")
        await subscribe(client, f"nanobanana://tasks/{first}", leave=True)
        for task_id in (first, second):
            await client.call_tool("wait_for_image", {"task_id": task_id})
        with anyio.fail_after(60):
            await notifications.until(f"nanobanana://tasks/{second}")
    assert f"nanobanana://tasks/{first}" not in notifications.uris


async def test_a_session_that_ends_leaves_no_subscription_behind() -> None:
    bus = ResourceUpdateBus()
    server = ImageServer(open_service(load_settings(sandbox=True, sandbox_seconds=3600.0)), bus)
    async with Client(server, mode="legacy") as client:
        await subscribe(client, f"nanobanana://tasks/{await make(client)}")
        assert bus.listeners == 1
    assert bus.listeners == 0


@pytest.mark.parametrize("uri", ["x" * 5_000, "nanobanana://tasks/" + "x" * 129, "nanobanana://tasks/ta1/images/0"])
async def test_a_uri_that_never_changes_is_accepted_without_a_subscription(uri: str) -> None:
    bus = ResourceUpdateBus()
    server = ImageServer(open_service(load_settings(sandbox=True)), bus)
    async with Client(server, mode="legacy") as client:
        await subscribe(client, uri)
        await subscribe(client, uri, leave=True)
        assert bus.listeners == 0
    server = ImageServer(open_service(load_settings(sandbox=True)), bus)
    async with Client(server) as client, client.listen(resource_subscriptions=[uri, "nanobanana://tasks"]) as events:
        assert events.honored.resource_subscriptions == ["nanobanana://tasks"]


async def test_open_streams_end_without_an_error_when_the_server_stops() -> None:
    with served_process("--sandbox") as server:
        async with Client(server.url, mode="legacy") as old, Client(server.url) as new:
            await subscribe(old, "nanobanana://tasks")
            async with new.listen(resource_subscriptions=["nanobanana://tasks"]) as events:
                server.process.send_signal(signal.SIGTERM)
                with anyio.fail_after(GRACE_SECONDS - 3):
                    assert [event async for event in events] == []
                    await in_thread(server.process.wait)
        assert server.process.stderr is not None
        assert b"Traceback" not in server.process.stderr.read()
