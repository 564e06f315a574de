"""The messages between the view and its host, and the fallbacks of the view for hosts that lack a feature."""

from __future__ import annotations

import base64
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from mcp.types import BlobResourceContents
from playwright.async_api import Browser, expect

from nano_banana_tools.apps import IMAGE_URI
from tests.integration.browser.host import EVERYTHING, NARROW, Host, place_for, quick_client
from tests.integration.browser.states import PROMPT, STATES, State, ended, in_state, nothing
from tests.support.clients import facts, text
from tests.support.sandbox import plain_sandbox

pytestmark = pytest.mark.asyncio(loop_scope="session")

IMAGE = State("picture", ())
IMAGES = State("pictures", (), "sandbox:result=many")
WAITING = State("waiting", (), "sandbox:seconds=3600", then=nothing)


def with_host(state: State, **shown: Any) -> State:
    return State(state.name, (), state.directives, then=state.then, shown=shown)


async def test_the_handshake_is_as_the_specification_has_it(browser: Browser) -> None:
    async with in_state(WAITING, browser) as host:
        said = await host.page.evaluate("heard.map(one => one.method).slice(0, 2)")
        assert said == ["ui/initialize", "ui/notifications/initialized"]
        [hello] = await host.heard("ui/initialize")
        assert hello["protocolVersion"] == "2026-01-26"
        assert hello["appInfo"]["name"]
        assert hello["appCapabilities"] == {"availableDisplayModes": ["inline", "fullscreen"]}


async def test_it_answers_a_ping_and_refuses_unknown_requests(browser: Browser) -> None:
    async with in_state(WAITING, browser) as host:
        assert (await host.ask("ping", {}))["result"] == {}
        assert (await host.ask("tools/list", {}))["error"]["code"] == -32601


async def test_it_follows_the_host_s_theme_and_colours_at_once(browser: Browser) -> None:
    async with in_state(IMAGE, browser) as host:
        paper = "getComputedStyle(document.getElementById('card')).backgroundColor"
        assert await host.frame.evaluate(paper) == "rgb(255, 255, 255)"
        await host.tell("ui/notifications/host-context-changed", {"theme": "dark"})
        await expect(host.find("#card")).to_have_css("background-color", "rgb(32, 31, 29)")
        variables = {"--color-background-primary": "light-dark(#ffffff, #112233)", "--font-sans": "serif"}
        await host.tell("ui/notifications/host-context-changed", {"styles": {"variables": variables}})
        await expect(host.find("#card")).to_have_css("background-color", "rgb(17, 34, 51)")
        await expect(host.find("body")).to_have_css("font-family", "serif")


async def test_the_prompt_is_shown_while_the_model_still_writes_it(browser: Browser) -> None:
    async with in_state(State("writing", (), called=False, then=nothing), browser) as host:
        await host.tell("ui/notifications/tool-input-partial", {"arguments": {"prompt": "A lighthouse on a qu"}})
        await expect(host.find("#prompt")).to_have_text("A lighthouse on a qu")


async def test_its_height_is_reported_and_fits_its_content(browser: Browser) -> None:
    async with in_state(IMAGE, browser) as host:
        await host.still()
        notification = (await host.heard("ui/notifications/size-changed"))[-1]
        height = await host.frame.evaluate("Math.ceil(document.body.getBoundingClientRect().height)")
        assert notification["height"] == height
        await host.resize(NARROW)
        await host.still()
        assert (await host.heard("ui/notifications/size-changed"))[-1]["height"] < notification["height"]
        assert await host.frame.evaluate("document.documentElement.scrollHeight <= innerHeight"), "it scrolls"


async def test_after_the_teardown_it_says_nothing_more(browser: Browser) -> None:
    async with in_state(with_host(WAITING, refused=["tools/call"]), browser) as host:
        await host.until_heard("tools/call")
        assert (await host.ask("ui/resource-teardown", {"reason": "closed"}))["result"] == {}
        count = await host.page.evaluate("heard.length")
        await host.resize(NARROW)
        await host.tell("ui/notifications/tool-result", {"content": [], "isError": True})
        await host.ask("ping", {})
        assert await host.page.evaluate("heard.length") == count + 1


async def test_tool_calls_that_the_host_refuses_become_rarer_and_then_stop(browser: Browser) -> None:
    """On the browser's virtual clock."""
    async with (
        plain_sandbox(seconds=3600) as sandbox,
        quick_client(sandbox.url) as client,
        Host.open(browser, client) as host,
    ):
        await host.page.clock.install()
        await host.show(IMAGE_URI, {"prompt": PROMPT}, refused=["tools/call"])
        await host.call("generate_image", {"prompt": PROMPT})
        for count in range(1, 5):
            await host.until_heard("tools/call", count)
            await host.page.clock.run_for(4**count * 1000)
        await expect(host.find("h1")).to_have_text("Still being made")
        assert len(await host.heard("tools/call")) == 4
        await host.button("Check again").click()
        await host.until_heard("tools/call", 5)


async def test_the_elapsed_time_is_the_task_s_not_the_page_s(browser: Browser) -> None:
    async with in_state(State("writing", (), called=False, then=nothing), browser) as host:
        answer = {"task_id": "ta1", "status": "in_progress", "finished": False, "images": [], "elapsed_seconds": 83.4}
        await host.tell("ui/notifications/tool-result", {"content": [], "structuredContent": answer})
        await expect(host.find("#clock")).to_have_text(re.compile(r"^1:2[3-9]$"))  # it goes on counting


async def test_the_usual_time_of_the_model_is_shown_while_it_waits(browser: Browser) -> None:
    async with in_state(State("usual", (), called=False, then=nothing), browser) as host:
        await host.client.call_tool("generate_image", {"prompt": PROMPT, "wait_seconds": 240})
        await host.call("generate_image", {"prompt": f"{PROMPT} sandbox:seconds=3600"})
        await expect(host.find("#usual")).to_have_text(re.compile(r"^usually about [0-9]+ s$"))
        await expect(host.find("#pace")).to_be_visible()
        await host.tell("ui/notifications/host-context-changed", {"locale": "ko-KR"})
        await expect(host.find("#usual")).to_have_text(re.compile("^보통 약 [0-9]+초$"))
        await host.screenshot("waiting-usual")


async def test_all_is_reached_with_the_keyboard_in_the_order_of_reading(browser: Browser) -> None:
    async with in_state(IMAGE, browser) as host:
        assert await tabbed(host, 6) == ["Edit this", "Mark up", "Make another", "Download", "Copy URL", "Open"]
    async with in_state(IMAGES, browser) as host:
        cells = [f"{PROMPT} sandbox:result=many ({number} of 4)" for number in range(1, 5)]
        assert await tabbed(host, 5) == [*cells, "Make another"]
        await host.find("#grid li:nth-child(3) button").focus()
        await host.page.keyboard.press("Enter")
        await expect(host.find("#place")).to_have_text("3 of 4")
        await expect(host.button("All")).to_be_focused()
        await host.page.keyboard.press("ArrowRight")
        await host.page.keyboard.press("ArrowRight")
        await expect(host.find("#place")).to_have_text("1 of 4")
        await host.page.keyboard.press("Escape")
        await expect(host.find("#grid li:nth-child(1) button")).to_be_focused()
        assert await host.complaints() == []


async def tabbed(host: Host, count: int) -> list[str]:
    names = []
    for _ in range(count):
        await host.page.keyboard.press("Tab")
        names.append(
            await host.frame.evaluate(
                "document.activeElement.textContent.trim() || document.activeElement.querySelector('img').alt"
            )
        )
    return names


async def test_open_hands_the_url_to_the_host(browser: Browser) -> None:
    async with in_state(IMAGE, browser) as host:
        await host.button("Open").click()
        [request] = await host.until_heard("ui/open-link")
        assert request["url"].startswith("http://127.0.0.1:")


async def test_edit_this_sends_the_instruction_and_names_the_image(browser: Browser) -> None:
    async with in_state(IMAGE, browser) as host:
        await host.button("Edit this").click()
        await expect(host.find("#words")).to_be_focused()
        await host.page.keyboard.type("Make it night")
        await host.page.keyboard.press("Enter")
        [sent] = await host.until_heard("ui/message")
        assert sent["role"] == "user"
        [block] = sent["content"]
        assert "Make it night" in block["text"]
        [made] = facts(await host.client.call_tool("browse_images", {}))["generations"]
        assert made["resource_uri"] in block["text"], "a URL may have died, which the API finds out after it was paid"
        await expect(host.find("#said")).to_have_text("Sent to the conversation.")
        assert await host.complaints() == []


async def test_make_another_sends_the_prompt_and_says_where_the_host_refuses_messages(browser: Browser) -> None:
    async with in_state(IMAGE, browser) as host:
        await host.button("Make another").click()
        [sent] = await host.until_heard("ui/message")
        words = sent["content"][0]["text"]
        assert PROMPT in words
        assert "model " in words
        assert "costs credits" in words
    async with in_state(with_host(IMAGE, refused=["ui/message"]), browser) as host:
        await host.button("Make another").click()
        await expect(host.find("#said")).to_contain_text("ask for it in the conversation")
        assert not await host.button("Make another").is_visible()
        assert not await host.button("Edit this").is_visible()


async def test_a_message_that_the_host_refuses_can_be_copied_and_the_next_one_is_sent_again(
    browser: Browser,
) -> None:
    async with in_state(IMAGE, browser) as host:
        await host.page.evaluate("OWN['ui/message'] = () => ({ isError: true })")
        await host.button("Edit this").click()
        await host.page.keyboard.type("Make it night")
        await host.page.keyboard.press("Enter")
        await expect(host.find("#said")).to_contain_text("It was not sent.")
        await expect(host.find("#said")).to_contain_text("Make it night")
        await host.page.evaluate("OWN['ui/message'] = () => ({})")
        await host.button("Edit this").click()
        await host.page.keyboard.type("Make it night")
        await host.page.keyboard.press("Enter")
        await expect(host.find("#said")).to_have_text("Sent to the conversation.")


async def test_a_submit_of_unknown_outcome_offers_no_button_that_repeats_it(browser: Browser) -> None:
    [unknown] = [state for state in STATES if state.name == "unknown"]
    async with in_state(unknown, browser) as host:
        assert await host.find("button:visible").count() == 0


async def test_a_feature_that_the_host_lacks_has_no_button(browser: Browser) -> None:
    without = {name: value for name, value in EVERYTHING.items() if name != "openLinks"}
    async with in_state(with_host(IMAGE, capabilities=without), browser) as host:
        assert not await host.button("Open").is_visible()
        assert not await host.button("Enlarge").is_visible(), "it has no full screen"


async def test_the_url_is_copied_or_selected_for_copying(browser: Browser) -> None:
    async with in_state(IMAGE, browser) as host:
        await host.button("Copy URL").click()
        await expect(host.find("#said")).to_have_text("Copied.")
        assert await host.complaints() == []
    async with in_state(IMAGE, browser) as host:
        await host.frame.evaluate("document.execCommand = () => false")  # as browsers answer where it is forbidden
        await host.button("Copy URL").click()
        await expect(host.find("#said")).to_contain_text("selected")
        selected = await host.find("#url").evaluate("one => one.value.slice(one.selectionStart, one.selectionEnd)")
        assert selected.startswith("http://127.0.0.1:")


async def test_a_download_is_the_image_whole(browser: Browser, tmp_path: Path) -> None:
    async with in_state(with_host(IMAGE, sandbox="allow-scripts allow-downloads"), browser) as host:
        async with host.page.expect_download() as download:
            await host.button("Download").click()
        saved = tmp_path / (await download.value).suggested_filename
        await (await download.value).save_as(saved)
        assert saved.suffix == ".png"
        assert saved.read_bytes() == await original(host)


async def test_a_host_that_saves_files_is_handed_the_image(browser: Browser) -> None:
    async with in_state(with_host(IMAGE, capabilities={**EVERYTHING, "downloadFile": {}}), browser) as host:
        await host.button("Download").click()
        [request] = await host.until_heard("ui/download-file")
        [content] = request["contents"]
        assert base64.b64decode(content["resource"]["blob"]) == await original(host)
        assert content["resource"]["mimeType"] == "image/png"
        await expect(host.find("#said")).to_have_text("Saved.")


async def test_all_of_several_images_are_downloaded_as_one_archive(browser: Browser, tmp_path: Path) -> None:
    async with in_state(with_host(IMAGES, sandbox="allow-scripts allow-downloads"), browser) as host:
        async with host.page.expect_download() as download:
            await host.button("Download all").click()
        saved = tmp_path / (await download.value).suggested_filename
        await (await download.value).save_as(saved)
        with zipfile.ZipFile(saved) as archive:
            assert archive.testzip() is None
            files = [archive.read(name) for name in archive.namelist()]
        assert [Path(name).suffix for name in archive.namelist()] == [".png"] * 4
        assert files[0] == await original(host)


async def original(host: Host) -> bytes:
    [read, *_] = [one for one in await host.heard("resources/read") if "/images/" in one["uri"]]
    [contents] = (await host.client.read_resource(read["uri"])).contents
    assert isinstance(contents, BlobResourceContents)
    return base64.b64decode(contents.blob)


async def test_full_screen_is_asked_for_where_there_is_one(browser: Browser) -> None:
    state = with_host(IMAGE, context={"availableDisplayModes": ["inline", "fullscreen"], "displayMode": "inline"})
    async with in_state(state, browser) as host:
        await host.button("Enlarge").click()
        assert await host.until_heard("ui/request-display-mode") == [{"mode": "fullscreen"}]
        await host.page.evaluate("frame.style.height = '736px'")
        await expect(host.button("Reduce")).to_be_visible()
        assert await host.frame.evaluate("document.documentElement.scrollHeight <= innerHeight + 1"), "it scrolls"
        await host.page.screenshot(path=place_for("fullscreen"))
        await host.resize(1100)
        await host.page.screenshot(path=place_for("fullscreen-wide"))


async def test_a_host_that_passes_the_text_alone_gets_the_image_all_the_same(browser: Browser) -> None:
    async with in_state(State("text", (), called=False, then=nothing), browser) as host:
        made = await host.client.call_tool("generate_image", {"prompt": PROMPT})
        content = [{"type": "text", "text": text(made)}]
        await host.tell("ui/notifications/tool-result", {"content": content})
        assert await host.pixels() == (1024, 1024)


async def test_the_result_of_another_tool_changes_nothing(browser: Browser) -> None:
    async with in_state(IMAGE, browser) as host:
        before = await host.find("main").inner_html()
        await host.tell("ui/notifications/tool-result", {"content": [{"type": "text", "text": "something else"}]})
        await host.tell("ui/notifications/tool-input", {"arguments": {"prompt": "another"}})
        await host.ask("ping", {})
        assert await host.find("main").inner_html() == before


async def test_messages_from_any_window_but_the_host_are_ignored(browser: Browser) -> None:
    async with in_state(WAITING, browser) as host:
        failure = {"isError": True, "content": [{"type": "text", "text": "forged"}]}
        for method, params in (("tool-result", failure), ("tool-cancelled", {})):
            forged = {"jsonrpc": "2.0", "method": f"ui/notifications/{method}", "params": params}
            await host.frame.evaluate("message => window.postMessage(message, '*')", forged)
        await host.ask("ping", {})
        await expect(host.find("h1")).to_have_text("Making your picture")


async def test_the_facts_of_a_later_failure_reach_the_model_too(browser: Browser) -> None:
    async with in_state(State("failed", (), "sandbox:result=failed", then=ended), browser) as host:
        [notification] = await host.until_heard("ui/update-model-context")
        assert "has failed" in notification["content"][0]["text"]
        [made] = [one for one in await host.heard("tools/call") if one["name"] == "wait_for_image"]
        assert made["arguments"]["task_id"] in notification["content"][0]["text"]
        assert facts(await host.client.call_tool("get_task", {"task_id": made["arguments"]["task_id"]}))["finished"]
