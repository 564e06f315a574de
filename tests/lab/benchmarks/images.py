"""A very large picture through a real server process; the first paint of the view and uploads in a real browser."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync as in_thread
from mcp.client import Client
from mcp.client.stdio import stdio_client
from playwright.async_api import Browser, async_playwright

from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.server import serve_sandbox
from nano_banana_tools.apps import REFERENCE_URI
from tests.integration.browser.host import Host
from tests.integration.browser.states import first_paint
from tests.lab.benchmarks.figures import Row
from tests.support import chromium
from tests.support.clients import KEY, AppsHost, child_at, facts
from tests.support.fixed_drawings import FixedDrawings
from tests.support.image_samples import PHOTO_SIDE, photo_png
from tests.support.raw_stdio import raw
from tests.support.uploads import photo

TARGET_WIRE_BYTES = 1_000_000
TARGET_SECONDS = 1.5
TARGET_GROWTH_MEGABYTES = 20
SETTLED = 3
"""Calls after which the allocator keeps as much freed memory as it ever does: about two such pictures."""

TARGET_FIRST_PAINT_MS = 200
TARGET_UPLOAD_SECONDS = 1.5
TWELVE_MEGAPIXELS = (4000, 3000)
UPLOADS = (
    "a 12-megapixel photo, chosen on the upload page in Chromium, until its reference is ready",
    "a 12-megapixel photo, chosen in a conversation in Chromium, until its reference is ready",
)


async def view(rounds: int) -> list[tuple[int, float, float]]:
    """Bytes on the wire, seconds, and MB above the memory before the first: of each call to ``view_image``."""

    def calls(url: str, state: str) -> list[tuple[int, float, float]]:
        results = []
        settings: Any = {"DEFAPI_BASE_URL": url, "DEFAPI_API_KEY": KEY, "NANO_BANANA_STATE_DIR": state}
        # Without the cache: every call fetches, and shrinks.
        with raw(**settings, NANO_BANANA_CACHE_MEGABYTES="0") as server:
            made = server.call(2, "generate_image", {"prompt": "a cat", "wait_seconds": 60})
            arguments = {"task_id": made["result"]["structuredContent"]["task_id"]}
            before = server.resident_megabytes()
            for number in range(rounds):
                began = time.perf_counter()
                seen = server.call(10 + number, "view_image", arguments)
                seconds = time.perf_counter() - began
                assert [item["type"] for item in seen["result"]["content"]] == ["text", "image"], seen
                results.append((len(server.lines[-1]), seconds, server.resident_megabytes() - before))
        return results

    async with serve_sandbox(SandboxConfig(seconds=0)) as sandbox:
        sandbox.images = FixedDrawings(photo_png())
        with tempfile.TemporaryDirectory() as state:
            return await in_thread(calls, sandbox.url, state)


@asynccontextmanager
async def _browser() -> AsyncIterator[Browser]:
    """Chromium.

    Raises:
        NoChromiumError: there is no browser.
    """
    path = chromium.obtain()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=chromium.FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


async def paints(rounds: int) -> list[float]:
    """Milliseconds to the first paint."""
    async with _browser() as browser:
        return [await first_paint(browser) for _ in range(rounds)]


async def uploads(rounds: int) -> tuple[list[float], list[float]]:
    """Seconds from the choice of a photo until its reference is ready: on the upload page, and in a conversation."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "IMG_0001.JPG"
        file.write_bytes(photo(TWELVE_MEGAPIXELS, detail=True))
        async with serve_sandbox(SandboxConfig()) as sandbox, _browser() as browser:
            server = child_at(sandbox.url, NANO_BANANA_STATE_DIR=folder)
            async with Client(stdio_client(server)) as client:
                on_page = [await _upload_on_page(browser, client, file) for _ in range(rounds)]
            async with Client(stdio_client(server), extensions=[AppsHost()]) as client:
                in_conversation = [await _upload_in_conversation(browser, client, file) for _ in range(rounds)]
    return on_page, in_conversation


async def _upload_on_page(browser: Browser, client: Client, file: Path) -> float:
    page = await browser.new_page()
    try:
        await page.goto(facts(await client.call_tool("add_reference", {"purpose": "a poster"}))["upload_url"])
        began = time.perf_counter()
        await page.set_input_files("#file", file)
        await page.locator("#said", has_text="You can close this page").wait_for()
        return time.perf_counter() - began
    finally:
        await page.close()


async def _upload_in_conversation(browser: Browser, client: Client, file: Path) -> float:
    async with Host.open(browser, client) as host:
        await host.show(REFERENCE_URI, {"purpose": "a poster"})
        await host.call("add_reference", {"purpose": "a poster"})
        await host.find("#drop").wait_for()
        began = time.perf_counter()
        await host.frame.set_input_files("#file", file)
        await host.until_heard("ui/message")
        return time.perf_counter() - began


def rows(quick: bool) -> Iterator[Row]:
    """The figures of ``view_image`` and of the view."""
    what = f"view_image of {PHOTO_SIDE} x {PHOTO_SIDE}"
    if sys.platform == "linux":
        sent, seconds, grown = zip(*anyio.run(view, SETTLED + (1 if quick else 4)), strict=True)
        yield Row(f"{what}: on the wire", max(sent), "bytes", relation="<", target=TARGET_WIRE_BYTES)
        median = statistics.median(seconds)
        spread = f"{min(seconds):.2f}-{max(seconds):.2f} s, {os.cpu_count()} processors"
        yield Row(f"{what}: time of a call", median, "s", relation="<", target=TARGET_SECONDS, spread=spread)
        before = f"{grown[SETTLED - 1]:+.1f} MB with the first {SETTLED} calls"
        growth = grown[-1] - grown[SETTLED - 1]
        yield Row(f"{what}: memory added by further calls", growth, "MB", before, "<", TARGET_GROWTH_MEGABYTES)
    else:
        yield Row(what, None, spread="there is no /proc")
    try:
        times = anyio.run(paints, 3 if quick else 9)
        spread = f"{min(times):.0f}-{max(times):.0f} ms"
        paint = statistics.median(times)
        yield Row("the view: first paint in Chromium", paint, "ms", "", "<", TARGET_FIRST_PAINT_MS, spread)
        for place, durations in zip(UPLOADS, anyio.run(uploads, 2 if quick else 7), strict=True):
            spread = f"{min(durations):.2f}-{max(durations):.2f} s"
            yield Row(place, statistics.median(durations), "s", target=TARGET_UPLOAD_SECONDS, spread=spread)
    except chromium.NoChromiumError as error:
        yield Row("the view: first paint in Chromium", None, "ms", target=TARGET_FIRST_PAINT_MS, spread=str(error))
        for place in UPLOADS:
            yield Row(place, None, "s", target=TARGET_UPLOAD_SECONDS, spread=str(error))
