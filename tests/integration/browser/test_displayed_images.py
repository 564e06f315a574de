"""Images appear in the view, whatever their size and whatever the host passes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import stdio_client
from playwright.async_api import Browser, expect

from nano_banana_tools.apps import IMAGE_URI
from tests.integration.browser.host import EVERYTHING, Host, quick_client
from tests.integration.browser.states import PROMPT, WITHOUT_TOOLS, ended
from tests.support.clients import child_at, facts, text
from tests.support.http_server import at, served
from tests.support.sandbox import plain_sandbox

pytestmark = pytest.mark.asyncio(loop_scope="session")

WITHOUT_RESOURCES = {name: value for name, value in EVERYTHING.items() if name != "serverResources"}
WITHOUT_EITHER = {name: value for name, value in WITHOUT_TOOLS.items() if name != "serverResources"}


@asynccontextmanager
async def in_conversation(
    browser: Browser, directives: str = "", wait_seconds: float = 0, **shown: Any
) -> AsyncIterator[Host]:
    """A host whose view has seen the end of a generation."""
    arguments = {"prompt": f"{PROMPT} {directives}", "wait_seconds": wait_seconds}
    async with (
        plain_sandbox(seconds=0) as sandbox,
        quick_client(sandbox.url) as client,
        Host.open(browser, client) as host,
    ):
        await host.show(IMAGE_URI, arguments, **shown)
        await host.call("generate_image", arguments)
        await ended(host)
        yield host


async def test_a_call_that_returned_at_once_turns_into_its_image_in_place(browser: Browser) -> None:
    """Over stdio to a real server process; neither the model nor the person does anything."""
    async with (
        plain_sandbox(seconds=1) as sandbox,
        Client(stdio_client(child_at(sandbox.url))) as client,
        Host.open(browser, client) as host,
    ):
        await host.show(IMAGE_URI, {"prompt": PROMPT})
        made = facts(await host.call("generate_image", {"prompt": PROMPT}))
        assert made["finished"] is False
        assert await host.pixels() == (1024, 1024)
        assert [one["arguments"] for one in await host.heard("tools/call")] == [
            {"task_id": made["task_id"], "timeout_seconds": 45}
        ]
        [context] = await host.until_heard("ui/update-model-context")
        assert f"task {made['task_id']} is finished" in context["content"][0]["text"]
        assert await host.complaints() == []


async def test_a_waiting_call_over_http_shows_its_image_with_the_prompt_that_only_the_server_knows(
    browser: Browser,
) -> None:
    async with (
        plain_sandbox(seconds=1) as sandbox,
        served(**at(sandbox.url)) as server,
        Client(server.url) as client,
        Host.open(browser, client) as host,
    ):
        made = await client.call_tool("generate_image", {"prompt": PROMPT})
        arguments = {"task_id": facts(made)["task_id"]}
        await host.show(IMAGE_URI, arguments)
        await host.call("wait_for_image", arguments)
        assert await host.pixels() == (1024, 1024)
        await host.find("#prompt:not([hidden])").wait_for()
        assert await host.find("#large").get_attribute("alt") == PROMPT
        assert await host.heard("tools/call") == []
        assert await host.complaints() == []


async def test_five_megabytes_that_came_as_a_data_uri_are_seen(browser: Browser) -> None:
    """And the model's part of the result stays under a kilobyte."""
    arguments = {"prompt": f"{PROMPT} sandbox:result=big-data-uri", "wait_seconds": 240}
    async with (
        plain_sandbox(seconds=0) as sandbox,
        quick_client(sandbox.url) as client,
        Host.open(browser, client) as host,
    ):
        await host.show(IMAGE_URI, arguments)
        result = await host.call("generate_image", arguments)
        assert len(text(result).encode()) < 1_000
        assert len(str(facts(result)).encode()) < 1_000
        width, height = await host.pixels()
        assert width * height > 1_000_000
        length = await host.find("#large").evaluate("image => image.src.length")
        assert length > 5_000_000
        assert await host.button("Open").count() == await host.button("Copy URL").count() == 0, "it has no URL"
        assert await host.complaints() == []


@pytest.mark.parametrize("image", ["jpeg", "webp", "gif", "mislabelled"])
async def test_every_other_kind_of_image_is_seen(image: str, browser: Browser) -> None:
    async with in_conversation(browser, f"sandbox:picture={image}") as host:
        assert min(await host.pixels()) > 0
        assert await host.complaints() == []


async def test_all_of_several_images_are_seen(browser: Browser) -> None:
    async with in_conversation(browser, "sandbox:result=many") as host:
        for number in range(1, 5):
            assert await host.pixels(f"#grid li:nth-child({number}) img") == (1024, 1024)
        alternatives = await host.find("#grid").evaluate(
            "grid => [...grid.querySelectorAll('img')].map(one => one.alt)"
        )
        assert [one[-8:] for one in alternatives] == ["(1 of 4)", "(2 of 4)", "(3 of 4)", "(4 of 4)"]


async def test_a_batch_fills_as_its_images_come_and_one_can_be_opened_meanwhile(browser: Browser) -> None:
    arguments = {"prompt": f"{PROMPT} sandbox:submit=400*1", "count": 3}
    async with (
        plain_sandbox(seconds=3600) as sandbox,
        quick_client(sandbox.url) as client,
        Host.open(browser, client) as host,
    ):
        tiles = host.find("#grid li")
        await host.show(IMAGE_URI, arguments)
        await expect(tiles).to_have_text(["Being made"] * 3)
        await host.call("generate_image", arguments)
        await expect(tiles.filter(has_text="Not made: The image API refused the request")).to_have_count(1)
        [first, second] = sandbox.tasks
        second.born -= 10_000
        await expect(host.find("h1")).to_have_text("1 of 3 pictures")
        await expect(tiles.filter(has_text="Being made")).to_have_count(1)
        await host.find("#grid img").click()
        assert await host.pixels() == (1024, 1024)
        assert await host.button("Edit this").is_visible()
        first.born -= 10_000
        await expect(host.find("h1")).to_have_text("2 pictures")
        await host.button("All").click()
        await expect(host.find("#grid img")).to_have_count(2)
        [context] = await host.until_heard("ui/update-model-context")
        assert "task ba-" in context["content"][0]["text"]
        assert await host.complaints() == []


async def test_a_host_that_passes_no_resources_gets_the_image_by_the_view_s_own_tool(browser: Browser) -> None:
    async with in_conversation(browser, capabilities=WITHOUT_RESOURCES) as host:
        assert await host.pixels() == (1024, 1024)
        assert await host.heard("resources/read") == []
        [call] = [one for one in await host.heard("tools/call") if one["name"] == "read_picture"]
        assert call["arguments"]["number"] == 0


async def test_a_host_that_refuses_to_read_a_resource_gets_it_by_the_tool_too(browser: Browser) -> None:
    async with in_conversation(browser, refused=["resources/read"]) as host:
        assert await host.pixels() == (1024, 1024)


async def test_a_host_that_passes_nothing_on_gets_the_facts_and_a_way_to_open_it(browser: Browser) -> None:
    async with in_conversation(browser, capabilities=WITHOUT_EITHER, wait_seconds=240) as host:
        assert "This app cannot load pictures from the server." in await host.find("main").inner_text()
        assert await host.button("Open").is_visible()
        assert await host.complaints() == []
