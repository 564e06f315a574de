"""Each state of the image view in a real browser: its text and its accessibility."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser

from tests.integration.browser.host import NARROW, SCREENSHOTS, USUAL, WIDEST, violations
from tests.integration.browser.states import STATES, State, in_state
from tests.support import chromium

pytestmark = pytest.mark.asyncio(loop_scope="session")

FITS = "document.documentElement.scrollWidth <= innerWidth"

# As a warm, low-contrast host sends them.
HOST_LOOK = {
    "--color-background-primary": "light-dark(#ffffff, #30302e)",
    "--color-background-secondary": "light-dark(#f5f4ed, #262624)",
    "--color-text-primary": "light-dark(#141413, #faf9f5)",
    "--color-text-secondary": "light-dark(#3d3d3a, #c2c0b6)",
    "--color-border-primary": "light-dark(#1f1e1d66, #dedcd166)",
    "--color-border-tertiary": "light-dark(#1f1e1d26, #dedcd126)",
    "--color-ring-primary": "light-dark(#141413b3, #faf9f5b3)",
    "--font-sans": "Georgia, serif",
    "--border-radius-md": "8px",
    "--border-radius-lg": "10px",
}


@pytest.mark.parametrize("state", STATES, ids=str)
async def test_a_state_is_named_and_accessible_in_light_and_dark_narrow_and_wide(
    state: State, browser: Browser, request: pytest.FixtureRequest
) -> None:
    """Screenshots of each are kept for a person to look at."""
    looks = (("light", USUAL, "en-US"), ("dark", NARROW, "ko-KR"))
    async with in_state(state, browser) as host:
        shown = await host.find("main").inner_text()
        for words in state.says:
            assert words in shown
        await host.frame.evaluate(request.getfixturevalue("audit_source"))
        for theme, width, locale in looks:
            await host.tell("ui/notifications/host-context-changed", {"theme": theme, "locale": locale})
            await host.resize(width)
            await host.screenshot(f"{state}-{theme}")
            assert await host.frame.evaluate(FITS), "it is cut off"
            assert await violations(host.frame) == [], (theme, width)
        await host.resize(WIDEST)
        await host.still()
        assert await host.frame.evaluate(FITS), "it is cut off"
        assert await host.complaints() == []
    assert (SCREENSHOTS / f"{state}-light.png").stat().st_size > 0


async def test_it_takes_on_the_look_of_its_host_and_stays_accessible(browser: Browser, audit_source: str) -> None:
    for state in (state for state in STATES if state.name in ("edit", "text-only")):
        async with in_state(state, browser) as host:
            await host.tell("ui/notifications/host-context-changed", {"styles": {"variables": HOST_LOOK}})
            await host.frame.evaluate(audit_source)
            for theme in ("light", "dark"):
                await host.tell("ui/notifications/host-context-changed", {"theme": theme})
                await host.screenshot(f"{state}-host-{theme}")
                assert await violations(host.frame) == []


async def test_the_audit_finds_a_violation(browser: Browser, audit_source: str) -> None:
    async with in_state(STATES[2], browser) as host:
        await host.frame.evaluate(audit_source)
        await host.find("#large").evaluate("image => image.removeAttribute('alt')")
        assert any(one.startswith("image-alt") for one in await violations(host.frame))


async def test_korean_is_drawn_as_letters_in_the_screenshots(browser: Browser) -> None:
    if not chromium.has_korean_font():
        pytest.skip("KOREAN IS NOT TO BE SEEN IN THE SCREENSHOTS: no font has it (fonts-noto-cjk)")
    async with in_state(STATES[2], browser) as host:
        drawn = await host.frame.evaluate(
            """() => ["이", "미"].map(letter => {
                 const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
                 pen.font = "40px sans-serif";
                 pen.fillText(letter, 0, 60);
                 return canvas.toDataURL();
               })"""
        )
        assert drawn[0] != drawn[1], "both are boxes"


async def test_text_of_others_is_shown_as_text(browser: Browser) -> None:
    attack = "<img src=x onerror=window.hurt=1><script>window.hurt=1</script><b>bold</b>"
    state = State("attack", (), prompt=attack)
    failed = State("attack", (), "sandbox:result=failed sandbox:reason=<b_onclick=window.hurt=1>")
    for one, words in ((state, attack), (failed, "‹b onclick=window.hurt=1>")):
        async with in_state(one, browser) as host:
            assert words in await host.find("main").inner_text()
            assert await host.frame.evaluate("window.hurt") is None
            assert await host.find("main b, main script, main img:not([id])").count() == 0
            assert await host.complaints() == []


async def test_reduced_motion_is_respected(browser: Browser) -> None:
    moving = "document.getAnimations().length"
    async with in_state(STATES[0], browser, reduced_motion="no-preference") as host:
        assert await host.frame.evaluate(moving) > 0
        await host.page.emulate_media(reduced_motion="reduce")
        assert await host.frame.evaluate(moving) == 0
