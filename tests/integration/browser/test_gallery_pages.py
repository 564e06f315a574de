"""The gallery in a real browser: served by this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from playwright.async_api import Browser, Route, expect

from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.views import page as page_of
from tests.integration.browser.gallery_page import Entries, opened, painted
from tests.integration.browser.host import ATTACK, violations
from tests.support.gallery import API, NOW, drawn
from tests.support.serving import listening, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOOKS: tuple[tuple[Literal["light", "dark"], int], ...] = (("light", 1100), ("dark", 360))
"""Colors and widths in pixels."""

PROMPT = "A lighthouse on a quiet coast at dawn, thin fog over the water"
DEAD = drawn("A harbour whose picture has died", 30)
MANY = drawn("Four studies of a heron", 20, url=None, count=4)
FAILED = drawn(ATTACK, 10, status=Status.FAILED, images=(), message=f"refused {ATTACK}")
LOST = Generation("in-lost", prompt="An image of unknown outcome", model="m", api=API, created_at=NOW)


def usual() -> Entries:
    lighthouses = [drawn(f"{PROMPT}, study {n}", 100 + n, url=None) for n in range(8)]
    return [
        *((lighthouse, {0: painted(n, (480, 360))}) for n, lighthouse in enumerate(lighthouses)),
        (DEAD, {}),
        (MANY, {n: painted(n + 20) for n in range(4)}),
        (FAILED, {}),
        (LOST, {}),
    ]


async def test_the_page_needs_nothing_from_outside() -> None:
    page = page_of("gallery").encode()
    for outside in (b"http://", b"https://", b"@import", b"url(", b"eval(", b"innerHTML", b" style=", b'onclick="'):
        assert outside not in page


async def test_the_grid_shows_what_was_made_without_a_complaint_of_the_browser(
    browser: Browser, tmp_path: Path
) -> None:
    """Screenshots are kept for a person to look at."""
    async with opened(browser, tmp_path, usual()) as it:
        await expect(it.cards).to_have_count(12)
        await it.loaded()
        assert "12 requests · 5.5 credits paid" in await it.page.locator("#sum").inner_text()
        await expect(it.cards.first).to_contain_text("Outcome unknown")
        await expect(it.cards.nth(3)).to_contain_text("Cannot be shown: ")
        assert "token" not in it.page.url
        for theme, width in LOOKS:
            await it.page.emulate_media(color_scheme=theme)
            await it.page.set_viewport_size({"width": width, "height": 800})
            await it.loaded()
            await it.screenshot(f"grid-{theme}-{width}")
            assert await it.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is cut off"
        assert it.problems == []


async def test_every_state_is_accessible_in_light_and_dark(browser: Browser, audit_source: str, tmp_path: Path) -> None:
    async with opened(browser, tmp_path, usual(), bypass_csp=True) as it:
        await it.page.evaluate(audit_source)

        async def audit(name: str) -> None:
            for theme in ("light", "dark"):
                await it.page.emulate_media(color_scheme=theme)
                await it.still()
                assert await violations(it.page) == [], (name, theme)

        await it.loaded()
        await audit("grid")
        for number, name in ((0, "unknown"), (1, "failed"), (2, "many"), (3, "dead")):
            await it.cards.nth(number).click()
            await expect(it.page.locator("#gone:text('Loading')")).to_be_hidden()
            await audit(name)
            await it.page.locator("#delete").click()
            await audit(f"{name}, about to be deleted")
            await it.page.locator("#keep").click()
            await it.page.locator("#back").click()
        await it.page.locator("#search").fill("nothing has this")
        await expect(it.page.locator("#empty")).to_have_text("Nothing fits.")
        await audit("empty")
        await it.page.locator("#title").evaluate("title => title.parentElement.append(document.createElement('img'))")
        assert any(one.startswith("image-alt") for one in await violations(it.page)), "the audit finds nothing"


async def test_search_and_filters_narrow_the_grid_and_an_empty_result_has_a_message(
    browser: Browser, tmp_path: Path
) -> None:
    async with opened(browser, tmp_path, usual()) as it:
        await it.page.locator("#search").fill("HERON")
        await expect(it.cards).to_have_count(1)
        await expect(it.page.locator("#sum")).to_contain_text("1 found · 0.5 credits")
        await it.page.locator("#search").fill("")
        await it.page.locator("#status").select_option("failed")
        await expect(it.cards).to_have_count(1)
        await it.page.locator("#status").select_option("")
        await it.page.locator("#model").select_option("m")
        await expect(it.cards).to_have_count(1)
        await expect(it.cards).to_contain_text("An image of unknown outcome")
        await it.page.locator("#search").fill("heron")
        await expect(it.page.locator("#empty")).to_have_text("Nothing fits.")


async def test_the_page_is_painted_before_its_list_has_come(browser: Browser, tmp_path: Path) -> None:
    async with opened(browser, tmp_path, usual()) as it:
        released = anyio.Event()

        async def hold(route: Route) -> None:
            await released.wait()
            await route.continue_()

        await it.page.route("**/generations?*", hold)
        await it.page.reload(wait_until="commit")
        await it.page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length === 1")
        await expect(it.page.get_by_role("searchbox")).to_be_visible()
        assert await it.cards.count() == 0
        released.set()
        await expect(it.cards).to_have_count(12)


async def test_an_empty_gallery_has_a_message(browser: Browser, tmp_path: Path) -> None:
    async with opened(browser, tmp_path, []) as it:
        await expect(it.page.locator("#empty")).to_contain_text("Nothing yet.")
        await it.screenshot("empty")
        assert it.problems == []


async def test_thousands_are_shown_page_by_page(browser: Browser, tmp_path: Path) -> None:
    entries: Entries = [(drawn(f"number {n}", n, status=Status.FAILED, images=()), {}) for n in range(1_000)]
    async with opened(browser, tmp_path, entries) as it:
        await expect(it.page.locator("#sum")).to_contain_text("1,000 requests · 500 credits")
        for count in (48, 96):
            await expect(it.cards).to_have_count(count)
            await it.page.locator("#more").click()
        await expect(it.cards).to_have_count(144)
        assert await it.cards.all_inner_texts() == list(dict.fromkeys(await it.cards.all_inner_texts()))
        assert "number 96" in await it.page.evaluate("document.activeElement.innerText"), (
            "the first new one has the focus"
        )


async def test_the_details_are_all_there_and_the_keyboard_is_enough(browser: Browser, tmp_path: Path) -> None:
    async with opened(browser, tmp_path, usual()) as it:
        await it.cards.nth(2).focus()
        await it.page.keyboard.press("Enter")
        await it.shows(640)
        detail = await it.page.locator("#detail").inner_text()
        for words in (MANY.prompt, "google/gempix2", "0.5", MANY.task_id, "30 s", "3 of 15 · picture 1 of 4"):
            assert str(words) in detail
        await it.screenshot("many")
        first = await it.page.locator("#large").get_attribute("src")
        await it.page.keyboard.press("ArrowRight")
        await expect(it.page.locator("#place")).to_have_text("4 of 15 · picture 2 of 4")
        await expect(it.page.locator("#large")).to_have_attribute("alt", f"{MANY.prompt} (2/4)")
        assert await it.page.locator("#large").get_attribute("src") != first
        await it.page.keyboard.press("Escape")
        await expect(it.cards.nth(2)).to_be_focused()
        assert it.problems == []


async def test_an_image_with_a_dead_url_has_a_message_and_no_save_button(browser: Browser, tmp_path: Path) -> None:
    async with opened(browser, tmp_path, usual()) as it:
        await it.cards.nth(3).click()
        await expect(it.page.locator("#gone")).to_contain_text("This picture cannot be shown.")
        await expect(it.page.locator("#gone")).to_contain_text("pictures.invalid")
        await expect(it.page.locator("#save")).to_be_hidden()
        await it.screenshot("dead")


async def test_saving_downloads_the_very_bytes(browser: Browser, tmp_path: Path) -> None:
    async with opened(browser, tmp_path / "state", usual()) as it:
        await it.cards.nth(2).click()
        await it.page.keyboard.press("ArrowRight")
        await expect(it.page.locator("#place")).to_have_text("4 of 15 · picture 2 of 4")
        async with it.page.expect_download() as begun:
            await it.page.locator("#save").click()
        saved = await begun.value
        assert f"four-studies-of-a-heron_{MANY.task_id}_1.png" in saved.suggested_filename
        await saved.save_as(tmp_path / "saved.png")
        assert (tmp_path / "saved.png").read_bytes() == painted(21).data


async def test_deleting_asks_first_and_says_what_stays(browser: Browser, tmp_path: Path) -> None:
    async with opened(browser, tmp_path, usual()) as it:
        await it.loaded()
        await it.cards.nth(2).click()
        await it.page.locator("#delete").click()
        await expect(it.page.locator("#keep")).to_be_focused()
        await expect(it.page.locator("#means")).to_contain_text("saved files stay")
        await expect(it.page.locator("#means")).to_contain_text("image service keeps")
        await expect(it.page.locator("#danger")).to_be_hidden()
        await it.screenshot("delete")
        await it.page.keyboard.press("Escape")
        await expect(it.page.locator("#sure")).to_be_hidden()
        assert MANY.generation_id in it.in_ledger()
        await it.page.locator("#delete").click()
        await it.page.locator("#yes").click()
        await expect(it.cards).to_have_count(11)
        await expect(it.page.locator("#sum")).to_contain_text("11 requests · 5 credits paid")
        assert MANY.generation_id not in it.in_ledger()
        await expect(it.cards.nth(2)).to_be_focused()
        assert it.problems == []


async def test_deleting_a_generation_of_unknown_outcome_comes_with_a_warning(browser: Browser, tmp_path: Path) -> None:
    async with opened(browser, tmp_path, usual()) as it:
        await it.cards.first.click()
        await expect(it.page.locator("#why")).to_contain_text("may have been charged")
        await it.page.locator("#delete").click()
        await expect(it.page.locator("#danger")).to_contain_text("the only trace of it here")
        await it.screenshot("delete-unknown")
        assert LOST.generation_id in it.in_ledger()
        await it.page.get_by_role("button", name="Delete all the same").click()
        await expect(it.cards).to_have_count(11)
        assert LOST.generation_id not in it.in_ledger()


async def test_text_of_others_is_shown_as_text(browser: Browser, tmp_path: Path) -> None:
    async with opened(browser, tmp_path, usual()) as it:
        await it.cards.nth(1).click()
        shown_text = await it.page.locator("#detail").inner_text()
        assert shown_text.count(ATTACK) == 2
        assert await it.page.evaluate("window.hurt") is None
        assert await it.page.locator("#detail script, #detail img:not([id])").count() == 0


async def test_a_stopped_server_is_reported_with_a_message(browser: Browser, tmp_path: Path) -> None:
    async with opened(browser, tmp_path, usual()) as it:
        await it.page.route("**/generations?*", lambda route: route.abort())
        await it.page.locator("#search").fill("x")
        await expect(it.page.locator("#empty")).to_contain_text("server has ended")


async def test_reduced_motion_is_respected(browser: Browser, tmp_path: Path) -> None:
    async with opened(browser, tmp_path, usual(), reduced_motion="reduce") as it:
        await it.cards.nth(2).click()
        await it.shows(640)
        assert await it.page.evaluate("document.getAnimations().length") == 0


async def test_another_page_of_this_machine_gets_nothing(browser: Browser, tmp_path: Path) -> None:
    """Not even with the cookie, which browsers send to every port of a host."""

    async def blank(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"<!doctype html>"})

    async with opened(browser, tmp_path, usual()) as it:
        own = f"{it.root}/pictures/{MANY.generation_id}/0"
        with listening() as (listener, url):
            async with serving(blank, listener):
                other = await it.page.context.new_page()
                await other.goto(url)
                attempt = "address => fetch(address, { credentials: 'include' }).then(() => 'read', () => 'refused')"
                assert await other.evaluate(attempt, f"{it.root}/generations") == "refused"
                image = (
                    "address => new Promise(done => { const image = new Image(); image.onload = () => done('seen');"
                    " image.onerror = () => done('refused'); image.src = address; })"
                )
                assert await other.evaluate(image, own) == "refused"
                delete = (
                    "address => fetch(address, { method: 'DELETE', credentials: 'include' })"
                    ".then(() => 'done', () => 'refused')"
                )
                assert await other.evaluate(delete, f"{it.root}/generations/{MANY.generation_id}") == "refused"
        assert MANY.generation_id in it.in_ledger()
