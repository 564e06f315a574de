"""The gallery as a view in a conversation: the page of the command, with a host and the real server behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from nano_banana_tools.apps import GALLERY_URI
from tests.integration.browser.host import ATTACK, EVERYTHING, NARROW, USUAL, WIDE, Host, quick_client, violations
from tests.support.clients import facts, text
from tests.support.sandbox import plain_sandbox

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROMPTS = (
    "A lighthouse on a quiet coast at dawn, thin fog over the water",
    "A heron in four studies sandbox:result=many",
    "A harbour sandbox:result=failed",
    f"{ATTACK} with the words of others",
    "A picture that has died sandbox:file=404",
)


@asynccontextmanager
async def browsing(
    browser: Browser, prompts: tuple[str, ...] = PROMPTS, arguments: dict[str, Any] | None = None, **shown: Any
) -> AsyncIterator[Host]:
    """A conversation in which these were made, and looked back at."""
    shown_arguments = arguments or {}
    async with (
        plain_sandbox(seconds=0) as sandbox,
        quick_client(sandbox.url) as client,
        Host.open(browser, client) as host,
    ):
        for prompt in prompts:
            await client.call_tool("generate_image", {"prompt": prompt, "wait_seconds": 240})
        await host.show(GALLERY_URI, shown_arguments, **shown)
        await host.call("browse_images", shown_arguments)
        yield host


async def loaded(host: Host) -> None:
    """Every thumbnail has come, or its place says why not."""
    await host.frame.wait_for_function(
        "() => { const all = [...document.querySelectorAll('#grid .thumb')]; return all.length &&"
        " all.every(one => !one.querySelector('img') || one.querySelector('img').naturalWidth) }"
    )


async def test_the_newest_appear_as_a_grid_without_a_complaint_of_the_browser(browser: Browser) -> None:
    async with browsing(browser) as host:
        await loaded(host)
        cards = host.find("#grid .card")
        await expect(cards).to_have_count(5)
        await expect(cards.nth(0)).to_contain_text("Cannot be shown: ")
        await expect(cards.nth(1)).to_contain_text("with the words of others")
        await expect(cards.nth(2)).to_contain_text("Failed")
        await expect(cards.nth(3)).to_contain_text("4 pictures")
        sides = await host.find("#grid img").evaluate_all("all => all.map(one => one.naturalWidth)")
        assert max(sides) == 384, "a grid needs no whole pictures"
        assert await host.frame.evaluate("window.hurt") is None
        for theme, width in (("light", WIDE), ("dark", NARROW)):
            await host.tell("ui/notifications/host-context-changed", {"theme": theme})
            await host.resize(width)
            await loaded(host)
            await host.screenshot(f"gallery-view-{theme}-{width}")
            assert await host.frame.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is cut off"
        assert await host.complaints() == []


async def test_one_image_is_opened_large_with_its_facts(browser: Browser) -> None:
    async with browsing(browser) as host:
        await host.find("#grid .card").nth(3).click()
        assert (await host.pixels())[0] == 1024
        detail = host.find("#detail")
        for words in (PROMPTS[1], "google/gempix2", "0.5", "picture 1 of 4"):
            await expect(detail).to_contain_text(words)
        await host.button("Next picture").click()
        await expect(host.find("#place")).to_contain_text("picture 2 of 4")
        await host.pixels()
        assert await host.find("#delete").is_hidden(), "a conversation deletes nothing"
        await host.screenshot("gallery-view-one")
        await host.page.keyboard.press("Escape")
        await expect(host.find("#grid .card").nth(3)).to_be_focused()
        assert await host.complaints() == []


async def test_it_searches_by_itself(browser: Browser) -> None:
    async with browsing(browser) as host:
        await host.find("#search").fill("LIGHTHOUSE")
        await expect(host.find("#grid .card")).to_have_count(1)
        await host.find("#search").fill("nothing has this")
        await expect(host.find("#empty")).to_have_text("Nothing fits.")
        browsed = [one["arguments"] for one in await host.heard("tools/call") if one["name"] == "browse_images"]
        assert browsed[-1] == {"limit": 20, "search": "nothing has this"}


async def test_every_state_is_accessible(browser: Browser, audit_source: str) -> None:
    async with browsing(browser) as host:
        await host.frame.evaluate(audit_source)
        await loaded(host)
        for theme, width in (("light", USUAL), ("dark", NARROW)):
            await host.tell("ui/notifications/host-context-changed", {"theme": theme})
            await host.resize(width)
            await host.still()
            assert await violations(host.frame) == []
            for number in (0, 2, 3):
                await host.find("#grid .card").nth(number).click()
                await expect(host.find("#gone:text('Loading')")).to_be_hidden()
                await host.still()
                assert await violations(host.frame) == []
                await host.button("All").click()


async def test_an_empty_list_and_a_failure_have_messages(browser: Browser) -> None:
    async with browsing(browser, ()) as host:
        await expect(host.find("#empty")).to_contain_text("Nothing yet.")
        assert await host.complaints() == []
    async with browsing(browser, (), {"limit": 99}) as host:
        await expect(host.find("#empty")).to_contain_text("limit")


@pytest.mark.parametrize("missing", ["serverResources", "serverTools"])
async def test_images_are_fetched_by_any_way_that_the_host_supports(browser: Browser, missing: str) -> None:
    capabilities = {name: value for name, value in EVERYTHING.items() if name != missing}
    async with browsing(browser, PROMPTS[:1], capabilities=capabilities) as host:
        await loaded(host)
        await host.find("#grid .card").click()
        assert (await host.pixels())[0] == 1024
        assert await host.complaints() == []


async def test_a_host_that_passes_the_text_alone_gets_the_grid_all_the_same(browser: Browser) -> None:
    async with (
        plain_sandbox(seconds=0) as sandbox,
        quick_client(sandbox.url) as client,
        Host.open(browser, client) as host,
    ):
        await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
        result = await client.call_tool("browse_images", {})
        assert len(facts(result)["generations"]) == 1
        await host.show(GALLERY_URI, {})
        await host.tell("ui/notifications/tool-result", {"content": [{"type": "text", "text": text(result)}]})
        await loaded(host)


async def test_it_ends_at_the_request_of_the_host(browser: Browser) -> None:
    async with browsing(browser, PROMPTS[:1]) as host:
        assert "result" in await host.ask("ping", {})
        assert "result" in await host.ask("ui/resource-teardown", {"reason": "gone"})
        await expect(host.find("#search")).to_be_disabled()
        await expect(host.find("#grid .card")).to_have_count(1)
