"""The pages as the wheel holds them, in a real browser: the same as those of the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from hatch_build import without_indentation
from nano_banana_mcp import views
from tests.integration.browser.states import STATES, State, in_state

pytestmark = pytest.mark.asyncio(loop_scope="session")

MEANT = """() => {
  const walker = document.createTreeWalker(document.documentElement);
  const nodes = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.nodeType === Node.COMMENT_NODE || node.parentNode.matches?.("script, style")) continue;
    const text = (node.nodeValue || "").replace(/\\s+/g, " ");
    nodes.push(node.nodeType === Node.TEXT_NODE ? text : node.cloneNode(false).outerHTML);
  }
  const rules = [...document.styleSheets].flatMap(sheet => [...sheet.cssRules].map(rule => rule.cssText));
  return [nodes, rules];
}"""


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The pages of the package are those of the wheel."""
    for page in views._FOLDER.glob("*.html"):
        (tmp_path / page.name).write_text(without_indentation(page.read_text("utf-8")), encoding="utf-8")
    monkeypatch.setattr(views, "_FOLDER", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["picture", "gallery"])
async def test_a_packed_page_has_the_same_elements_texts_and_styles(
    name: Any, browser: Browser, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for folder in (packed, Path(views.__file__).parent):
        monkeypatch.setattr(views, "_FOLDER", folder)
        context = await browser.new_context(java_script_enabled=False)
        page = await context.new_page()
        await page.set_content(views.page(name))
        found.append(await page.evaluate(MEANT))
        await context.close()
    assert found[0] == found[1]
    assert all(len(part) > 20 for part in found[0])


@pytest.mark.parametrize("state", [state for state in STATES if state.name in ("edit", "one-of-many")], ids=str)
@pytest.mark.usefixtures("packed")
async def test_a_packed_page_does_what_it_should(state: State, browser: Browser) -> None:
    async with in_state(state, browser) as host:
        shown = await host.find("main").inner_text()
        assert all(words in shown for words in state.says)
        assert await host.complaints() == []
