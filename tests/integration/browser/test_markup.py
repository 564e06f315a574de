"""Marks on an image: drawn with a mouse, a finger or the keyboard, uploaded, and handed to the conversation."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import pytest
from mcp.types import BlobResourceContents
from PIL import Image
from playwright.async_api import Browser, expect

from tests.integration.browser.host import Host
from tests.integration.browser.states import State, ended, in_state, marking
from tests.support.clients import facts

pytestmark = pytest.mark.asyncio(loop_scope="session")

MARKING = State("mark-up", (), then=marking)
RED, YELLOW, BLUE = (0xE3, 0x12, 0x2D), (0xFF, 0xD2, 0x1F), (0x12, 0x63, 0xFF)
MAX_JPEG_ERROR = 60


async def at(host: Host, x: float, y: float) -> tuple[float, float]:
    """A point of the canvas, as shares of its sides, in pixels of the page."""
    box = await host.find("canvas[role=application]").bounding_box()
    assert box is not None
    return box["x"] + box["width"] * x, box["y"] + box["height"] * y


async def drag(host: Host, *points: tuple[float, float]) -> None:
    for number, point in enumerate(points):
        await host.page.mouse.move(*await at(host, *point), steps=5)
        if number == 0:
            await host.page.mouse.down()
    await host.page.mouse.up()


async def choose(host: Host, name: str) -> None:
    await host.find(".marker").get_by_role("radio", name=name).check()


async def sent_with_marks(host: Host, wish: str) -> tuple[str, Image.Image]:
    """Send the marks. Returns the message, and the marked copy as the server has it."""
    await host.find("#mark-wish").fill(wish)
    await host.button("Edit with marks").click()
    [message] = await host.until_heard("ui/message")
    words = message["content"][0]["text"]
    [uri] = re.findall(r"nanobanana://uploads/[\w-]+", words)
    [contents] = (await host.client.read_resource(uri)).contents
    assert isinstance(contents, BlobResourceContents)
    return words, Image.open(io.BytesIO(base64.b64decode(contents.blob))).convert("RGB")


def is_marked(image: Image.Image, x: float, y: float, colour: tuple[int, int, int]) -> bool:
    """Whether a point, as shares of the sides, has the colour of a mark."""
    pixel: Any = image.getpixel((round(x * image.width), round(y * image.height)))
    return all(abs(one - other) <= MAX_JPEG_ERROR for one, other in zip(pixel, colour, strict=True))


async def test_marks_drawn_with_the_mouse_are_in_the_uploaded_copy(browser: Browser) -> None:
    async with in_state(MARKING, browser) as host:
        await host.still()
        await drag(host, (0.2, 0.2), (0.5, 0.2), (0.5, 0.4))
        await choose(host, "Arrow")
        await choose(host, "Blue")
        await drag(host, (0.9, 0.3), (0.6, 0.3))
        await choose(host, "Box")
        await choose(host, "Yellow")
        await drag(host, (0.1, 0.6), (0.4, 0.9))
        await drag(host, (0.6, 0.6), (0.9, 0.9))
        await host.button("Undo").click()
        await choose(host, "Text")
        await host.page.mouse.click(*await at(host, 0.55, 0.75))
        await host.page.keyboard.type("a red boat")
        await host.page.keyboard.press("Enter")
        await expect(host.find(".marker [role=status]")).to_have_text("Added: Text. 4 marks")
        await host.screenshot("mark-up-marked")
        words, marked = await sent_with_marks(host, "make it night")
        assert is_marked(marked, 0.35, 0.2, RED)
        assert is_marked(marked, 0.5, 0.3, RED)
        assert is_marked(marked, 0.75, 0.3, BLUE)
        assert is_marked(marked, 0.1, 0.75, YELLOW)
        assert not is_marked(marked, 0.6, 0.75, YELLOW), "it was undone"
        assert any(is_marked(marked, 0.55 + step / 500, 0.75, YELLOW) for step in range(100)), "the words"
        [made] = facts(await host.client.call_tool("browse_images", {}))["generations"]
        assert words.index("make it night") < words.index(made["resource_uri"]) < words.index("nanobanana://uploads/")
        assert "leave no mark in the result" in words
        [_, context] = await host.until_heard("ui/update-model-context", 2)  # the first: the picture is finished
        assert made["resource_uri"] in context["content"][0]["text"]
        await expect(host.button("Mark up")).to_be_focused()
        await expect(host.find("#said")).to_have_text("Sent to the conversation.")
        assert await host.complaints() == []


async def test_marks_are_made_and_sent_with_the_keyboard_alone(browser: Browser) -> None:
    async with in_state(MARKING, browser) as host:
        press = host.page.keyboard.press
        await press("Enter")
        for _ in range(8):
            await press("ArrowRight")
        await press("Enter")
        await expect(host.find(".marker [role=status]")).to_have_text("Added: Pen. 1 mark")
        for _ in range(8):
            await press("ArrowDown")
        await press("Enter")
        await press("ArrowDown")
        await press("Escape")
        await expect(host.find("canvas[role=application]")).to_be_visible()
        await press("Tab")
        await expect(host.find("#mark-wish")).to_be_focused()
        await host.page.keyboard.type("make it night")
        await press("Enter")
        [message] = await host.until_heard("ui/message")
        assert "make it night" in message["content"][0]["text"]
        [uri] = re.findall(r"nanobanana://uploads/[\w-]+", message["content"][0]["text"])
        [contents] = (await host.client.read_resource(uri)).contents
        assert isinstance(contents, BlobResourceContents)
        marked = Image.open(io.BytesIO(base64.b64decode(contents.blob))).convert("RGB")
        assert is_marked(marked, 0.6, 0.5, RED)
        assert not is_marked(marked, 0.7, 0.71, RED), "it was dropped"
        assert await host.complaints() == []


async def test_touch_draws_marks_and_nothing_is_sent_without_a_mark_and_an_instruction(browser: Browser) -> None:
    async with in_state(MARKING, browser, has_touch=True) as host:
        said = host.find(".marker [role=status]")
        await host.button("Edit with marks").click()
        await expect(said).to_have_text("Mark something first.")
        await host.still()
        touch = await host.page.context.new_cdp_session(host.page)
        for kind, point in (("Start", (0.3, 0.4)), ("Move", (0.5, 0.4)), ("Move", (0.7, 0.4)), ("End", None)):
            points = [] if point is None else [dict(zip("xy", await at(host, *point), strict=True))]
            await touch.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
        await expect(said).to_have_text("Added: Pen. 1 mark")
        await host.button("Edit with marks").click()
        await expect(said).to_have_text("Say what should change.")
        _, marked = await sent_with_marks(host, "make it night")
        assert is_marked(marked, 0.5, 0.4, RED)


async def test_a_failed_upload_keeps_the_marks_and_korean_is_spoken_where_the_host_does(browser: Browser) -> None:
    shown = {"context": {"locale": "ko-KR"}}
    async with in_state(State("mark-up", (), then=ended, shown=shown), browser) as host:
        await host.button("표시하기").click()
        await host.find("canvas[role=application]").wait_for()
        await host.still()
        await drag(host, (0.2, 0.2), (0.5, 0.2))
        await host.page.evaluate("host.refused = ['tools/call']")
        await host.find("#mark-wish").fill("밤으로")
        await host.button("표시대로 수정").click()
        await expect(host.find(".marker [role=status]")).to_have_text("Refused by the host")
        await host.page.evaluate("host.refused = []")
        await host.button("표시대로 수정").click()
        [message] = await host.until_heard("ui/message")
        assert message["content"][0]["text"].startswith("표시한 곳을 수정해 주세요: 밤으로")
