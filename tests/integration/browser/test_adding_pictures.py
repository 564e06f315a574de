"""A person adds a photo of their own: in the conversation, on the page on this machine, and over HTTP with a token."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from mcp.client import Client
from mcp.client.stdio import stdio_client
from mcp.types import BlobResourceContents
from playwright.async_api import Browser, FilePayload, Page, Route, expect

from nano_banana_mcp.app import build_server
from nano_banana_mcp.settings import load_settings
from nano_banana_mcp.upload_page.endpoint import FIELD
from nano_banana_sandbox import tasks
from nano_banana_sandbox.sandbox import Sandbox
from nano_banana_sandbox.server import serve_sandbox
from nano_banana_tools.apps import REFERENCE_URI
from tests.integration.browser.gallery_page import opened as gallery
from tests.integration.browser.gallery_page import painted
from tests.integration.browser.host import NARROW, TIMEOUT_MS, USUAL, WINDOW, Host, place_for, violations
from tests.support.clients import KEY, AppsHost, child_at, facts
from tests.support.gallery import drawn
from tests.support.http_server import at, served
from tests.support.sandbox import plain_config, plain_sandbox
from tests.support.team import client_with, grant
from tests.support.uploads import check_upright, photo, save_upload

pytestmark = pytest.mark.asyncio(loop_scope="session")

TWELVE_MEGAPIXELS, FOUR_MEGAPIXELS = (4000, 3000), (2400, 1800)
UPRIGHT = (1536, 2048)
"""The photo in pixels as it arrives: turned, and at most 2048 pixels long."""

PURPOSE = "a portrait for the poster"

LOOKS: dict[str, tuple[tuple[Literal["light", "dark"], int], ...]] = {
    "en-US": (("light", NARROW), ("dark", 1600)),
    "ko-KR": (("dark", NARROW),),
}
"""Colors and widths in pixels, by the language."""

DROP = """([selector, name, base64]) => {
  const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], name, { type: "image/jpeg" }));
  const target = document.querySelector(selector);
  for (const type of ["dragenter", "dragover", "drop"])
    target.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: files }));
}"""

PASTE = """([selector, name, base64]) => {
  const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], name, { type: "image/jpeg" }));
  document.querySelector(selector).dispatchEvent(
    new ClipboardEvent("paste", { bubbles: true, cancelable: true, clipboardData: files }));
}"""

FORGE = """([url, name, base64]) => {
  const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], "a.jpg", { type: "image/jpeg" }));
  const form = document.createElement("form");
  Object.assign(form, { action: url, method: "post", enctype: "multipart/form-data" });
  form.append(Object.assign(document.createElement("input"), { type: "file", name, files: files.files }));
  document.body.append(form);
  form.submit();
}"""


def client_of(url: str, *, shows_apps: bool) -> Client:
    """A client of a server in this process, as over stdio.

    Args:
        url: Of the API.
        shows_apps: Whether its host shows MCP Apps.
    """
    server = build_server(load_settings(base_url=url, api_key=KEY), local=True)
    return Client(server, extensions=[AppsHost()] if shows_apps else None)


def given(data: bytes, selector: str = "#drop") -> list[str]:
    """The arguments of :data:`DROP` and :data:`PASTE`."""
    return [selector, "IMG_0001.JPG", base64.b64encode(data).decode()]


@pytest.fixture
def whole_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox remembers references as they were sent, however long."""
    monkeypatch.setattr(tasks, "_MAX_INLINE_LETTERS", 100_000_000)


async def check_edit(client: Client, sandbox: Sandbox, uri: str) -> None:
    """An edit with the reference is submitted, and the API gets the photo as it should be."""
    [contents] = (await client.read_resource(uri)).contents
    assert isinstance(contents, BlobResourceContents)
    assert check_upright(base64.b64decode(contents.blob)) == UPRIGHT
    arguments = {"prompt": "Add a hat", "images": [uri], "wait_seconds": 240}
    assert facts(await client.call_tool("generate_image", arguments))["status"] == "success"
    [task] = sandbox.tasks
    [reference] = task.order.request["images"]
    assert check_upright(base64.b64decode(reference.partition(",")[2])) == UPRIGHT


@asynccontextmanager
async def opened(browser: Browser, url: str, **options: Any) -> AsyncIterator[tuple[Page, list[str]]]:
    """The upload page in a browser window of its own, and what the browser complained of."""
    problems: list[str] = []
    context = await browser.new_context(**{**WINDOW, **options})
    context.set_default_timeout(TIMEOUT_MS)
    try:
        page = await context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.goto(url)
        yield page, problems
    finally:
        await context.close()


@pytest.mark.usefixtures("whole_requests")
async def test_a_photo_dropped_into_the_conversation_becomes_a_reference(browser: Browser) -> None:
    """Over stdio to a real server process."""
    async with (
        serve_sandbox(plain_config(seconds=0.0)) as sandbox,
        Client(stdio_client(child_at(sandbox.url)), extensions=[AppsHost()]) as client,
        Host.open(browser, client) as host,
    ):
        await host.show(REFERENCE_URI, {"purpose": PURPOSE})
        first_answer = facts(await host.call("add_reference", {"purpose": PURPOSE}))
        assert first_answer["upload_url"] is None
        await expect(host.find("#purpose")).to_have_text(PURPOSE)
        await host.screenshot("reference-asked")
        await host.frame.evaluate(DROP, given(photo(TWELVE_MEGAPIXELS, detail=True)))
        [message] = await host.until_heard("ui/message")
        pieces = [call["arguments"] for call in await host.heard("tools/call")]
        assert len(pieces) > 1
        assert max(len(base64.b64decode(piece["data"])) for piece in pieces) <= 300_000
        answer = facts(await client.call_tool("add_reference", {"upload_id": first_answer["upload_id"]}))
        [reference] = answer["references"]
        assert (answer["finished"], reference["width"], reference["height"]) == (True, *UPRIGHT)
        assert reference["resource_uri"] in message["content"][0]["text"]
        [context] = await host.heard("ui/update-model-context")
        assert reference["resource_uri"] in context["content"][0]["text"]
        await expect(host.find("#said")).to_have_text("Added and reported to the assistant.")
        assert await host.pixels("#list img") == (168, 224)
        await host.screenshot("reference-added")
        assert await host.complaints() == []
        await check_edit(client, sandbox, reference["resource_uri"])


@pytest.mark.usefixtures("whole_requests")
async def test_a_photo_chosen_on_the_page_on_this_machine_becomes_a_reference(browser: Browser) -> None:
    """Its host neither shows pages nor opens URLs."""
    async with (
        serve_sandbox(plain_config(seconds=0.0)) as sandbox,
        client_of(sandbox.url, shows_apps=False) as client,
    ):
        first_answer = facts(await client.call_tool("add_reference", {"purpose": PURPOSE}))
        assert first_answer["upload_url"].startswith("http://127.0.0.1:")
        async with opened(browser, first_answer["upload_url"]) as (page, problems):
            await expect(page.locator("#purpose")).to_have_text(PURPOSE)
            async with page.expect_file_chooser() as choosing:
                await page.get_by_role("button", name="Choose a file").click()
            data = photo(FOUR_MEGAPIXELS)
            file = FilePayload(name="IMG_0001.JPG", mimeType="image/jpeg", buffer=data)
            await (await choosing.value).set_files(file)
            await expect(page.locator("#said")).to_contain_text("You can close this page")
            await page.screenshot(path=place_for("reference-page-added"))
            assert problems == []
        answer = facts(await client.call_tool("add_reference", {"upload_id": first_answer["upload_id"]}))
        await check_edit(client, sandbox, answer["references"][0]["resource_uri"])


@pytest.mark.usefixtures("whole_requests")
async def test_a_photo_dropped_on_the_page_of_an_http_server_with_tokens_becomes_a_reference(
    browser: Browser, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.json"
    token = grant(tokens, "alice")
    async with (
        serve_sandbox(plain_config(seconds=0.0)) as sandbox,
        served(**at(sandbox.url, NANO_BANANA_TOKENS_FILE=str(tokens))) as server,
        client_with(server.url, token=token) as client,
    ):
        first_answer = facts(await client.call_tool("add_reference", {"purpose": PURPOSE}))
        assert first_answer["upload_url"].startswith(f"{server.root}/references/")
        async with opened(browser, first_answer["upload_url"]) as (page, problems):
            await page.evaluate(DROP, given(photo(FOUR_MEGAPIXELS)))
            await expect(page.locator("#said")).to_contain_text("You can close this page")
            assert problems == []
        answer = facts(await client.call_tool("add_reference", {"upload_id": first_answer["upload_id"]}))
        await check_edit(client, sandbox, answer["references"][0]["resource_uri"])


async def test_two_pictures_are_pasted_and_the_person_goes_on_with_fewer_than_were_asked_for(browser: Browser) -> None:
    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_of(sandbox.url, shows_apps=True) as client,
        Host.open(browser, client) as host,
    ):
        await host.show(REFERENCE_URI, {"count": 3})
        first_answer = facts(await host.call("add_reference", {"count": 3}))
        for left in (2, 1):
            await host.frame.evaluate(PASTE, given(photo(), "body"))
            await expect(host.find("#said")).to_have_text(f"Added. {left} more can be added.")
        assert await host.heard("ui/message") == []
        await host.button("Continue with these").click()
        [message] = await host.until_heard("ui/message")
        answer = facts(await client.call_tool("add_reference", {"upload_id": first_answer["upload_id"]}))
        assert [reference["resource_uri"] in message["content"][0]["text"] for reference in answer["references"]] == [
            True,
            True,
        ]
        assert await host.complaints() == []


async def test_a_file_that_is_no_picture_is_refused_with_the_reason_and_another_can_be_added(browser: Browser) -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_of(sandbox.url, shows_apps=False) as client:
        url = facts(await client.call_tool("add_reference", {}))["upload_url"]
        async with opened(browser, url) as (page, problems):
            await page.evaluate(DROP, given(b"not a picture"))
            await expect(page.locator("#said")).to_contain_text("cannot open this picture")
            await page.evaluate(DROP, given(photo()))
            await expect(page.locator("#said")).to_contain_text("You can close this page")
            assert problems == []


async def test_a_page_of_another_site_cannot_upload(browser: Browser) -> None:
    """It may send a form without asking, but the server refuses it by its origin."""
    async with plain_sandbox(seconds=0) as sandbox, client_of(sandbox.url, shows_apps=False) as client:
        first_answer = facts(await client.call_tool("add_reference", {}))
        async with opened(browser, f"{sandbox.url}/") as (page, _):
            await page.evaluate(FORGE, [first_answer["upload_url"], FIELD, base64.b64encode(photo()).decode()])
            await expect(page.locator("body")).to_contain_text("from this server's own page only")
        answer = facts(await client.call_tool("add_reference", {"upload_id": first_answer["upload_id"]}))
        assert (answer["finished"], answer["references"]) == (False, [])


async def test_on_a_phone_a_photo_can_be_taken(browser: Browser) -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_of(sandbox.url, shows_apps=False) as client:
        url = facts(await client.call_tool("add_reference", {}))["upload_url"]
        async with opened(browser, url, has_touch=True, is_mobile=True, locale="ko-KR") as (page, _):
            async with page.expect_file_chooser() as choosing:
                await page.get_by_role("button", name="사진 찍기").tap()
            chooser = await choosing.value
            assert await chooser.element.get_attribute("capture") == "environment"
            await page.screenshot(path=place_for("reference-page-phone"))


async def test_the_gallery_lists_added_pictures_as_they_come_and_deletes_them_with_their_bytes(
    browser: Browser, tmp_path: Path, audit_source: str
) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    entries = [(drawn("a lighthouse", url=None), {0: painted(1)})]
    async with gallery(browser, tmp_path, entries, permissions=permissions, bypass_csp=True) as shown:
        page, added = shown.page, shown.page.locator("#uploads li")
        await expect(page.locator("#added")).to_be_hidden()
        references = [await save_upload(shown.settings, photo()) for _ in range(2)]
        await expect(added).to_have_count(2)
        await page.wait_for_function(
            "() => [...document.querySelectorAll('#uploads img')].every(image => image.naturalHeight === 512)"
        )
        await page.evaluate(audit_source)
        for theme, width in (("light", NARROW), ("dark", USUAL)):
            await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # it is one of both
            await page.set_viewport_size({"width": width, "height": 760})
            await shown.screenshot(f"added-{theme}")
            assert await violations(page) == []
        await added.first.get_by_role("button", name="Copy resource_uri").click()
        await expect(page.locator("#done")).to_have_text("Copied.")
        assert await page.evaluate("navigator.clipboard.readText()") == f"nanobanana://uploads/{references[1]}"
        await added.first.get_by_role("button", name="Delete…").click()
        await page.locator("#yes").click()
        await expect(added).to_have_count(1)
        await expect(page.locator("#done")).to_have_text("Deleted.")
        assert list(tmp_path.glob(f"images/index/*/{references[1]}*")) == []
        assert len(list(tmp_path.glob(f"images/index/*/{references[0]}*"))) == 1
        assert shown.problems == []


@pytest.mark.parametrize("locale", LOOKS)
async def test_the_page_and_the_view_are_accessible_in_every_state_at_every_width(
    browser: Browser, audit_source: str, locale: str
) -> None:
    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_of(sandbox.url, shows_apps=False) as client,
        client_of(sandbox.url, shows_apps=True) as in_apps,
        Host.open(browser, in_apps) as host,
    ):
        await host.show(REFERENCE_URI, {"purpose": PURPOSE, "count": 2}, context={"locale": locale})
        await host.call("add_reference", {"purpose": PURPOSE, "count": 2})
        url = facts(await client.call_tool("add_reference", {"purpose": PURPOSE, "count": 2}))["upload_url"]
        await host.frame.evaluate(audit_source)
        async with opened(browser, url, locale=locale, bypass_csp=True) as (page, _):
            await page.evaluate(audit_source)

            async def check(state: str) -> None:
                for theme, width in LOOKS[locale]:
                    await host.tell("ui/notifications/host-context-changed", {"theme": theme})
                    await host.resize(width)
                    await host.screenshot(f"reference-{state}-{theme}-{width}-{locale}")
                    await page.emulate_media(color_scheme=theme)
                    await page.set_viewport_size({"width": width, "height": 760})
                    await page.screenshot(path=place_for(f"reference-page-{state}-{theme}-{width}-{locale}"))
                    for view in (host.frame, page):
                        assert await violations(view) == [], (state, theme, width)
                        assert await view.evaluate("document.documentElement.scrollWidth <= innerWidth")

            async def add(data: bytes) -> None:
                for view in (host.frame, page):
                    await view.evaluate(DROP, given(data))

            said = (host.find("#said"), page.locator("#said"))
            await check("asked")
            released = anyio.Event()

            async def hold(route: Route) -> None:
                await released.wait()
                await route.continue_()

            await page.route("**/references/*", hold, times=1)
            await page.evaluate(DROP, given(photo()))
            await expect(page.locator("#progress")).to_be_visible()
            await check("sending")
            released.set()
            await page.locator("#list img").wait_for()
            await add(b"not a picture")
            for line in said:
                await expect(line).to_contain_text("JPEG")
            await check("refused")
            await host.frame.evaluate(DROP, given(photo()))
            await host.find("#list img").wait_for()
            await check("added")
            await add(photo())
            await expect(host.find("#list img")).to_have_count(2)
            await expect(page.locator("#list img")).to_have_count(2)
            for line in said:
                await expect(line).not_to_be_empty()
            await check("finished")
            await page.reload()
            await page.evaluate(audit_source)
            await expect(page.locator("#said")).to_contain_text("만료" if locale == "ko-KR" else "or expired")
            await expect(page.locator("#drop")).to_be_hidden()
            await check("expired")
            assert await page.title() == ("이미지 추가" if locale == "ko-KR" else "Add a picture")


async def test_a_refusal_of_the_server_is_shown_in_the_language_of_the_browser(browser: Browser) -> None:
    async with plain_sandbox(seconds=0) as sandbox:
        server = build_server(load_settings(base_url=sandbox.url, api_key=KEY, uploads_per_day=1), local=True)
        async with Client(server) as client:
            url = facts(await client.call_tool("add_reference", {"count": 2}))["upload_url"]
            async with opened(browser, url, locale="ko-KR") as (page, _):
                await page.evaluate(DROP, given(photo()))
                await page.locator("#list img").wait_for()
                await page.evaluate(DROP, given(photo()))
                await expect(page.locator("#said")).to_contain_text("오늘 올릴 수 있는 이미지를 모두 올렸습니다.")
                await page.screenshot(path=place_for("reference-page-limit-ko-KR"))
