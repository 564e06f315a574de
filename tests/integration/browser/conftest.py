from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from tests.support import axe, chromium, npm

expect.set_options(timeout=60_000)  # milliseconds; a busy machine draws a page in several seconds


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    try:
        path = chromium.obtain()
    except chromium.NoChromiumError as reason:
        pytest.skip(f"THE VIEWS WERE NOT TESTED (they need Chromium): {reason}")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=chromium.FLAGS)
        yield started
        await started.close()


@pytest.fixture(scope="session")
def audit_source() -> str:
    try:
        return axe.obtain()
    except npm.PackageUnavailableError as reason:
        pytest.skip(f"THE VIEWS' ACCESSIBILITY WAS NOT AUDITED (it needs axe-core, by npm): {reason}")
