"""The local gallery in a browser, for tests of several modules."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from playwright.async_api import Browser, Page, expect

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.storage import open_database
from tests.integration.browser.host import TIMEOUT_MS, WINDOW, place_for
from tests.support.gallery import gallery, record
from tests.support.settings import settings_from

Entries = Sequence[tuple[Generation, Mapping[int, EncodedImage]]]


@cache
def painted(number: int, size: tuple[int, int] = (640, 480)) -> EncodedImage:
    """An image in a color of its own."""
    image = Image.new("RGB", size, f"hsl({number * 47 % 360}, 55%, 62%)")
    width, height = size
    circle = (width * 0.3, height * 0.2, width * 0.7, height * 0.8)
    ImageDraw.Draw(image).ellipse(circle, fill=f"hsl({number * 47 % 360 + 40}, 70%, 80%)")
    file = io.BytesIO()
    image.save(file, "PNG")
    return EncodedImage(file.getvalue(), "image/png")


@dataclass
class LocalGallery:
    """A browser with the gallery.

    Attributes:
        root: Where it is served, without a slash at the end.
        problems: Errors of the page and of its policy.
    """

    page: Page
    settings: dict[str, Any]
    root: str
    problems: list[str] = field(default_factory=list)

    async def still(self) -> None:
        """Return when nothing moves any more."""
        await self.page.evaluate("Promise.all(document.getAnimations().map(one => one.finished.catch(() => {})))")

    async def loaded(self) -> None:
        """Return when every thumbnail in sight has come, or its place says why not."""
        await self.page.wait_for_function(
            "() => { const all = [...document.querySelectorAll('#grid .thumb')];"
            " return all.length && all.every(one => !one.querySelector('img') ||"
            " one.getBoundingClientRect().top > innerHeight || one.querySelector('img').complete"
            " && one.querySelector('img').naturalWidth) }"
        )
        await self.still()

    async def shows(self, width: int) -> None:
        """Return when the large image is shown, ``pixels`` wide."""
        await self.page.wait_for_function("width => document.querySelector('#large').naturalWidth === width", arg=width)
        await expect(self.page.locator("#gone")).to_be_hidden()

    async def screenshot(self, name: str) -> None:
        """Keep a screenshot for a person to look at."""
        await self.still()
        await self.page.screenshot(path=place_for(f"gallery-{name}"))

    @property
    def cards(self) -> Any:
        """The links of the grid."""
        return self.page.locator("#grid .card")

    def in_ledger(self) -> set[str]:
        """The ids of all generations."""
        ledger = open_database(settings_from(self.settings))
        generation_ids = {generation.generation_id for generation in ledger.history()}
        ledger.close()
        return generation_ids


@asynccontextmanager
async def opened(browser: Browser, folder: Path, entries: Entries, **options: Any) -> AsyncIterator[LocalGallery]:
    """A browser that has opened the printed address. Its complaints are kept, but for images that do not come.

    Args:
        folder: The state folder.
        options: The browser context's.
    """
    settings: dict[str, Any] = {"NANO_BANANA_STATE_DIR": str(folder)}
    await record(settings, entries)
    with gallery(settings) as served:
        context = await browser.new_context(**{**WINDOW, "viewport": {"width": 1100, "height": 800}, **options})
        context.set_default_timeout(TIMEOUT_MS)
        page = await context.new_page()
        result = LocalGallery(page, settings, served.root)
        page.on("pageerror", lambda error: result.problems.append(str(error)))
        page.on(
            "console",
            lambda message: (
                result.problems.append(message.text)
                if message.type == "error" and "Failed to load resource" not in message.text
                else None
            ),
        )
        await page.goto(served.url)
        await page.wait_for_function("() => document.querySelector('#sum').textContent")
        try:
            yield result
        finally:
            await context.close()
