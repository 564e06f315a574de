"""The gallery as a workbench, in a real browser: addresses, zoom, live updates, favorites and selections."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Literal
from zipfile import ZipFile

import pytest
from PIL import Image
from playwright.async_api import Browser, expect

from nano_banana_mcp.generations.models import Generation, Status
from tests.integration.browser.gallery_page import Entries, LocalGallery, opened, painted
from tests.integration.browser.host import violations
from tests.support.gallery import NOW, drawn, record
from tests.support.uploads import save_upload

pytestmark = pytest.mark.asyncio(loop_scope="session")

DAY_SECONDS = 86_400
LOOKS: tuple[tuple[Literal["light", "dark"], int], ...] = (("light", 344), ("dark", 1600))
"""Colors and widths in pixels."""


def thirty() -> Entries:
    """Thirty pictures of three formats, one a day, newest first."""
    formats = ((480, 360), (360, 480), (400, 400))
    return [(drawn(f"Study {n:02}", n * DAY_SECONDS, url=None), {0: painted(n, formats[n % 3])}) for n in range(30)]


def uri(generation: Generation) -> str:
    return f"nanobanana://tasks/{generation.task_id}/images/0"


async def clipboard(gallery: LocalGallery) -> str:
    copied: str = await gallery.page.evaluate("navigator.clipboard.readText()")
    return copied


async def test_thirty_pictures_each_have_an_address_and_five_are_downloaded_as_one_archive(
    browser: Browser, tmp_path: Path
) -> None:
    entries = thirty()
    async with opened(browser, tmp_path / "state", entries) as gallery:
        page, place = gallery.page, gallery.page.locator("#place")
        await expect(gallery.cards).to_have_count(30)
        await gallery.loaded()
        await gallery.screenshot("thirty")
        await gallery.cards.nth(3).click()
        await expect(place).to_have_text("4 of 30")
        first = page.url
        await page.locator("#later").click()
        await expect(place).to_have_text("5 of 30")
        await page.keyboard.press("ArrowRight")
        await expect(place).to_have_text("6 of 30")
        assert page.url.endswith(f"#{entries[5][0].generation_id}/0")
        await page.reload()
        await expect(place).to_have_text("6 of 30")
        await expect(page.locator("#prompt")).to_have_text("Study 05")
        await page.go_back()
        await expect(place).to_have_text("5 of 30")
        await page.go_back()
        await expect(place).to_have_text("4 of 30")
        assert page.url == first
        await page.go_back()
        await expect(page.locator("#detail")).to_be_hidden()
        await expect(gallery.cards.nth(3)).to_be_focused()

        boxes = page.get_by_role("checkbox")
        await boxes.nth(2).check()
        await boxes.nth(6).click(modifiers=["Shift"])
        await expect(page.locator("#count")).to_have_text("5 selected")
        await gallery.screenshot("selection")
        async with page.expect_download() as download:
            await page.locator("#zip").click()
        archive = await (await download.value).path()
        with ZipFile(archive) as files:
            assert files.testzip() is None
            assert [files.read(name) for name in files.namelist()] == [images[0].data for _, images in entries[2:7]]
            assert all(f"study-{n:02}" in name for n, name in enumerate(files.namelist(), start=2))
        assert gallery.problems == []


async def test_pictures_keep_their_format_and_zoom_to_their_own_size(browser: Browser, tmp_path: Path) -> None:
    entries = [(drawn("A wide one", -1, url=None), {0: painted(1, (1600, 700))}), *thirty()[:2]]
    async with opened(browser, tmp_path, entries, has_touch=True) as gallery:
        page, stage = gallery.page, gallery.page.locator("#stage")
        await gallery.loaded()
        boxes = await page.locator(".thumb").evaluate_all(
            "all => all.map(one => [one.clientWidth / one.clientHeight,"
            " one.firstElementChild.naturalWidth / one.firstElementChild.naturalHeight])"
        )
        assert [pytest.approx(image, rel=0.03) for _, image in boxes] == [box for box, _ in boxes], "tiles are cropped"
        await gallery.cards.first.click()
        await gallery.shows(1600)
        await gallery.still()
        width = "image => image.getBoundingClientRect().width"
        fitted = await page.locator("#large").evaluate(width)
        assert fitted <= await stage.evaluate("stage => stage.clientWidth")
        await page.locator("#zoom").click()
        assert await page.locator("#large").evaluate(width) == 1600
        await gallery.screenshot("actual-size")
        await stage.focus()
        await page.keyboard.press("ArrowRight")
        await expect(page.locator("#place")).to_have_text("1 of 3")
        await page.locator("#zoom").click()
        await gallery.still()
        assert await page.locator("#large").evaluate(width) == fitted
        await swipe(gallery, -200)
        await expect(page.locator("#place")).to_have_text("2 of 3")
        await swipe(gallery, 200)
        await expect(page.locator("#place")).to_have_text("1 of 3")
        assert gallery.problems == []


async def swipe(gallery: LocalGallery, pixels: int) -> None:
    box = await gallery.page.locator("#stage").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = await gallery.page.context.new_cdp_session(gallery.page)

    async def touch(kind: str, points: list[dict[str, float]]) -> None:
        await session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    await touch("touchStart", [{"x": x, "y": y}])
    for part in (0.25, 0.5, 0.75, 1.0):
        await touch("touchMove", [{"x": x + pixels * part, "y": y}])
    await touch("touchEnd", [])
    await session.detach()


async def test_new_generations_appear_and_finished_ones_change_without_reloading(
    browser: Browser, tmp_path: Path
) -> None:
    waiting = drawn("A slow one", 5, url=None, status=Status.IN_PROGRESS, finished_at=None, credits_consumed=None)
    done = replace(waiting, status=Status.SUCCESS, finished_at=NOW, credits_consumed="0.5")
    async with opened(browser, tmp_path, [(replace(waiting, images=()), {}), *thirty()[1:4]]) as gallery:
        await expect(gallery.cards.first).to_contain_text("Being made")
        await gallery.cards.nth(1).focus()
        await record(
            gallery.settings,
            [(done, {0: painted(3, (480, 360))}), (drawn("A new one", url=None), {0: painted(4, (480, 360))})],
        )
        await expect(gallery.cards).to_have_count(5)
        await expect(gallery.cards.first).to_contain_text("A new one")
        await expect(gallery.cards.nth(1)).not_to_contain_text("Being made")
        await gallery.loaded()
        await expect(gallery.cards.nth(2)).to_be_focused()
        assert gallery.problems == []


async def test_order_dates_and_favorites_narrow_the_grid(browser: Browser, tmp_path: Path) -> None:
    async with opened(browser, tmp_path, thirty(), timezone_id="UTC") as gallery:
        page = gallery.page
        await page.locator("#order").select_option("oldest")
        await expect(gallery.cards.first).to_contain_text("Study 29")
        await page.locator("#since").fill("2026-09-10")
        await page.locator("#until").fill("2026-09-12")
        await expect(gallery.cards).to_have_count(3)
        await expect(gallery.cards.first).to_contain_text("Study 11")
        await page.get_by_role("button", name="Favorite: Study 10").click()
        await page.locator("#since").fill("")
        await page.locator("#until").fill("")
        await expect(gallery.cards).to_have_count(30)
        await page.locator("#favorites").click()
        await expect(gallery.cards).to_have_count(1)
        await gallery.cards.first.click()
        await expect(page.locator("#favorite")).to_have_attribute("aria-pressed", "true")
        await gallery.screenshot("favorite")
        await page.locator("#favorite").click()
        await page.locator("#back").click()
        await expect(page.locator("#empty")).to_have_text("Nothing fits.")
        assert gallery.problems == []


async def test_the_address_keeps_the_filters_for_back_and_reloading(browser: Browser, tmp_path: Path) -> None:
    async with opened(browser, tmp_path, thirty(), timezone_id="UTC") as gallery:
        page = gallery.page
        assert page.url == f"{gallery.root}/"
        await page.locator("#search").press_sequentially("Study 1")
        await expect(page).to_have_url(f"{gallery.root}/?search=Study+1")  # the list may follow the letters sooner
        await expect(gallery.cards).to_have_count(10)
        await page.locator("#order").select_option("oldest")
        await page.locator("#since").fill("2026-09-10")
        await expect(gallery.cards).to_have_count(2)
        await page.get_by_role("button", name="Favorite: Study 11").click()
        await page.locator("#favorites").click()
        await expect(gallery.cards).to_have_count(1)
        narrowed = page.url
        assert narrowed == f"{gallery.root}/?search=Study+1&order=oldest&since=2026-09-10&favorites=yes"

        await gallery.cards.first.click()
        await expect(page.locator("#place")).to_have_text("1 of 1")
        await page.reload()
        await expect(page.locator("#place")).to_have_text("1 of 1")
        await page.go_back()
        await expect(gallery.cards).to_have_count(1)
        assert page.url == narrowed
        await page.reload()
        await expect(gallery.cards).to_have_count(1)
        await expect(page.locator("#search")).to_have_value("Study 1")
        await expect(page.locator("#order")).to_have_value("oldest")
        await expect(page.locator("#since")).to_have_value("2026-09-10")
        await expect(page.locator("#favorites")).to_have_attribute("aria-pressed", "true")
        await gallery.cards.first.click()
        await page.locator("#back").click()
        await expect(gallery.cards).to_have_count(1)
        assert page.url == narrowed

        await page.go_back()
        await expect(page.locator("#place")).to_have_text("1 of 1")
        await page.go_back()
        for count, first in ((2, "Study 11"), (10, "Study 19"), (10, "Study 10"), (30, "Study 00")):
            await page.go_back()
            await expect(gallery.cards).to_have_count(count)
            await expect(gallery.cards.first).to_contain_text(first)
        assert page.url == f"{gallery.root}/"
        await expect(page.locator("#search")).to_have_value("")
        assert gallery.problems == []


async def test_unknown_values_in_the_address_are_ignored(browser: Browser, tmp_path: Path) -> None:
    async with opened(browser, tmp_path, thirty()[:3]) as gallery:
        page = gallery.page
        await page.goto(f"{gallery.root}/?order=sideways&since=yesterday&status=lost&model=none&favorites=maybe&x=1")
        await expect(page.locator("#order")).to_have_value("newest")
        await expect(gallery.cards).to_have_count(3)
        assert gallery.problems == []


async def test_added_pictures_are_selected_downloaded_and_deleted_with_the_others(
    browser: Browser, audit_source: str, tmp_path: Path
) -> None:
    entries = thirty()[:2]
    async with opened(browser, tmp_path / "state", entries, bypass_csp=True) as gallery:
        page = gallery.page
        reference = await save_upload(gallery.settings, painted(7).data)
        boxes = page.get_by_role("checkbox")
        await expect(boxes).to_have_count(3)
        await boxes.nth(2).check()
        await boxes.nth(0).check()
        await expect(page.locator("#count")).to_have_text("2 selected")
        await page.evaluate(audit_source)
        assert await violations(page) == []
        await gallery.screenshot("selection-with-an-added-picture")
        async with page.expect_download() as download:
            await page.locator("#zip").click()
        with ZipFile(await (await download.value).path()) as files:
            assert [name.rpartition("_")[0].rpartition("_")[2] for name in files.namelist()] == [
                entries[0][0].task_id,
                reference,
            ]
            assert files.read(files.namelist()[0]) == entries[0][1][0].data
        await page.locator("#none").click()
        await boxes.nth(1).check()
        await page.locator("#every").click()
        await expect(page.locator("#count")).to_have_text("3 selected")
        await boxes.nth(0).uncheck()
        await page.locator("#discard").click()
        await expect(page.locator("#ask")).to_have_text("Delete these 2 entries?")
        await expect(page.locator("#means")).to_contain_text("conversations can no longer use it")
        await expect(page.locator("#means")).to_contain_text("saved files stay where they are")
        await page.locator("#yes").click()
        await expect(page.locator("#done")).to_have_text("2 entries are deleted.")
        await expect(page.locator("#added")).to_be_hidden()
        await expect(gallery.cards).to_have_count(1)
        assert gallery.in_ledger() == {entries[0][0].generation_id}
        assert len(list(tmp_path.glob("state/images/files/*/*"))) == 1
        assert gallery.problems == []


async def test_a_selection_is_deleted_with_its_bytes_and_its_open_entries_are_named(
    browser: Browser, tmp_path: Path
) -> None:
    lost = Generation("in-lost", prompt="A lost one", model="m", api="https://api.invalid", created_at=NOW + 1)
    entries = [(lost, {}), *thirty()[:4]]
    async with opened(browser, tmp_path, entries) as gallery:
        page = gallery.page
        for number in range(3):
            await page.get_by_role("checkbox").nth(number).check()
        await page.locator("#discard").click()
        await expect(page.locator("#ask")).to_have_text("Delete these 3 entries from the history?")
        await expect(page.locator("#danger")).to_contain_text("The end of 1 of them is not known.")
        await gallery.screenshot("delete-selection")
        await page.locator("#keep").click()
        assert len(gallery.in_ledger()) == 5
        await page.locator("#discard").click()
        await page.locator("#yes").click()
        await expect(page.locator("#done")).to_have_text("3 entries are deleted.")
        await expect(gallery.cards).to_have_count(2)
        assert gallery.in_ledger() == {entry.generation_id for entry, _ in entries[3:]}
        assert len(list(tmp_path.glob("images/files/*/*"))) == 2
        assert gallery.problems == []


async def test_the_address_of_a_deleted_picture_shows_that_it_is_deleted(browser: Browser, tmp_path: Path) -> None:
    async with opened(browser, tmp_path, thirty()[:1]) as gallery:
        await gallery.page.evaluate("location.hash = '#in-gone/0'")
        await expect(gallery.page.locator("#done")).to_have_text("It is deleted.")
        await expect(gallery.cards).to_have_count(1)


async def test_facts_and_instructions_for_the_assistant_are_copied(browser: Browser, tmp_path: Path) -> None:
    item = drawn("A heron", options="16:9, 2K, 1 reference")
    permissions = ["clipboard-read", "clipboard-write"]
    async with opened(browser, tmp_path, [(item, {0: painted(1, (480, 360))})], permissions=permissions) as gallery:
        page, said = gallery.page, gallery.page.locator("#said")
        await gallery.cards.first.click()
        await gallery.shows(480)
        [stored] = tmp_path.glob("images/files/*/*")
        for name, text in (
            ("copy", "A heron"),
            ("copy-url", item.images[0].url),
            ("copy-path", str(stored)),
            ("copy-uri", uri(item)),
        ):
            await page.locator(f"#{name}").click()
            await expect(said).to_have_text("Copied.")
            assert await clipboard(gallery) == text
        await page.locator("#edit").click()
        await page.locator("#wish").fill("make it night")
        await gallery.screenshot("edit")
        await page.keyboard.press("Enter")
        await expect(said).to_have_text("Copied. Paste it into the conversation with your assistant.")
        edit = await clipboard(gallery)
        assert "Edit this picture: make it night" in edit
        assert uri(item) in edit
        await page.locator("#another").click()
        await expect(said).to_contain_text("Copied.")
        another = await clipboard(gallery)
        for words in ("A heron", "model google/gempix2", "aspect_ratio 16:9", "image_size 2K", str(item.task_id)):
            assert words in another
        assert gallery.problems == []


async def test_a_picture_is_marked_and_the_marked_copy_is_an_upload_that_can_be_deleted(
    browser: Browser, audit_source: str, tmp_path: Path
) -> None:
    [(item, images)] = entries = thirty()[:1]
    options = {"permissions": ["clipboard-read", "clipboard-write"], "bypass_csp": True}
    async with opened(browser, tmp_path, entries, **options) as gallery:
        page = gallery.page
        await page.evaluate(audit_source)
        await gallery.cards.first.click()
        await gallery.shows(480)
        await page.locator("#draw").click()
        box = await page.locator("#marking canvas").bounding_box()
        assert box is not None
        await page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] * 0.5)
        await page.mouse.down()
        await page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.5)
        await page.mouse.up()
        await page.locator("#mark-wish").fill("a red door")
        assert await violations(page) == []
        await gallery.screenshot("marking")
        await page.get_by_role("button", name="Edit with marks").click()
        await expect(page.locator("#said")).to_contain_text("Copied.")
        await page.locator("#back").click()
        upload = page.locator("#uploads a")
        await expect(upload).to_have_count(1)
        marked = (await upload.get_attribute("href") or "").strip("#").split("/")[0]
        request = await clipboard(gallery)
        assert "a red door" in request
        assert request.index(uri(item)) < request.index(f"nanobanana://uploads/{marked}")
        with Image.open(io.BytesIO(images[0].data)) as before, Image.open(await stored(gallery, marked)) as after:
            assert after.size == before.size
            pixel = after.convert("RGB").getpixel((before.width // 2, before.height // 2))
            assert pixel == pytest.approx((0xE3, 0x12, 0x2D), abs=8), "the mark is missing"
        await gallery.loaded()
        assert await violations(page) == []
        await gallery.screenshot("uploads")
        await upload.click()
        await gallery.shows(480)
        await page.locator("#delete").click()
        await expect(page.locator("#ask")).to_have_text("Delete this upload?")
        await page.locator("#yes").click()
        await expect(page.locator("#added")).to_be_hidden()
        await expect(page.locator("#done")).to_have_text("Deleted.")
        assert len(list(tmp_path.glob("images/files/*/*"))) == 1
        assert gallery.problems == []


async def stored(gallery: LocalGallery, reference_id: str) -> io.BytesIO:
    response = await gallery.page.request.get(f"{gallery.root}/uploads/{reference_id}")
    return io.BytesIO(await response.body())


async def test_a_korean_browser_gets_a_korean_page_that_is_accessible_at_every_width(
    browser: Browser, audit_source: str, tmp_path: Path
) -> None:
    failed = drawn("A castle", -1, status=Status.FAILED, images=(), message="It was refused.")
    entries = [(failed, {}), *thirty()[:6]]
    async with opened(browser, tmp_path, entries, locale="ko-KR", bypass_csp=True) as gallery:
        page = gallery.page
        await page.evaluate(audit_source)
        await expect(page.locator("#title")).to_have_text("내 이미지")
        await expect(page.locator("html")).to_have_attribute("lang", "ko")
        await expect(gallery.cards.first).to_contain_text("실패")
        await expect(gallery.cards.first).to_contain_text("It was refused.")
        await page.get_by_role("checkbox").nth(1).check()

        async def check(name: str) -> None:
            for theme, width in LOOKS:
                await page.emulate_media(color_scheme=theme)
                await page.set_viewport_size({"width": width, "height": 900})
                await gallery.still()
                assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is cut off"
                assert await violations(page) == [], (name, theme)
                await gallery.screenshot(f"ko-{name}-{theme}-{width}")

        await gallery.loaded()
        await check("selection")
        await page.locator("#discard").click()
        await check("deleting")
        await page.locator("#keep").click()
        await gallery.cards.nth(1).click()
        await gallery.shows(480)
        await page.locator("#edit").click()
        await check("edit")
        await page.locator("#zoom").click()
        await check("actual-size")
        english = await page.evaluate(
            "[...document.querySelectorAll('#detail button, #tools button, option, label')]"
            ".map(one => one.textContent).filter(text => /^[A-Za-z ]{4,}$/.test(text) && text !== 'resource_uri')"
        )
        assert english == []
