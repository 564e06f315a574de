"""A very large picture through a real server process, and the first paint of the view in a real browser."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import anyio
from anyio.to_thread import run_sync as in_thread
from playwright.async_api import async_playwright

from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.server import serve_sandbox
from tests.integration.browser.states import first_paint
from tests.lab.benchmarks.figures import Row
from tests.support import chromium
from tests.support.clients import KEY
from tests.support.fixed_drawings import FixedDrawings
from tests.support.image_samples import PHOTO_SIDE, photo_png
from tests.support.raw_stdio import raw

TARGET_WIRE_BYTES = 1_000_000
TARGET_SECONDS = 1.5
TARGET_GROWTH_MEGABYTES = 20
TARGET_FIRST_PAINT_MS = 200


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


async def paints(rounds: int) -> list[float]:
    """Milliseconds to the first paint.

    Raises:
        NoChromiumError: there is no browser.
    """
    path = chromium.obtain()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=chromium.FLAGS)
        try:
            return [await first_paint(browser) for _ in range(rounds)]
        finally:
            await browser.close()


def rows(quick: bool) -> Iterator[Row]:
    """The figures of ``view_image`` and of the view."""
    what = f"view_image of {PHOTO_SIDE} x {PHOTO_SIDE}"
    if sys.platform == "linux":
        sent, seconds, grown = zip(*anyio.run(view, 2 if quick else 6), strict=True)
        yield Row(f"{what}: on the wire", max(sent), "bytes", relation="<", target=TARGET_WIRE_BYTES)
        median = statistics.median(seconds)
        spread = f"{min(seconds):.2f}-{max(seconds):.2f} s, {os.cpu_count()} processors"
        yield Row(f"{what}: time of a call", median, "s", relation="<", target=TARGET_SECONDS, spread=spread)
        first = f"after the first call {grown[0]:+.1f} MB"
        yield Row(f"{what}: memory kept", grown[-1], "MB", first, "<", TARGET_GROWTH_MEGABYTES)
    else:
        yield Row(what, None, spread="there is no /proc")
    try:
        times = anyio.run(paints, 3 if quick else 9)
    except chromium.NoChromiumError as error:
        yield Row("the view: first paint in Chromium", None, "ms", target=TARGET_FIRST_PAINT_MS, spread=str(error))
        return
    spread = f"{min(times):.0f}-{max(times):.0f} ms"
    paint = statistics.median(times)
    yield Row("the view: first paint in Chromium", paint, "ms", "", "<", TARGET_FIRST_PAINT_MS, spread)
