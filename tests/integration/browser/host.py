"""A small host for the views: a page that speaks MCP Apps under the strict default policy, a real client behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, TextResourceContents
from playwright.async_api import Browser, ConsoleMessage, Error, Frame, Locator, Page

from nano_banana_mcp.tracking.schedule import Schedule
from tests.support.clients import client_at
from tests.support.paths import ROOT

HOST_PAGE = Path(__file__).with_name("host.html")
SCREENSHOTS = ROOT / "build" / "screenshots"

EVERYTHING: dict[str, Any] = {
    "openLinks": {},
    "serverTools": {},
    "serverResources": {},
    "updateModelContext": {"text": {}},
    "message": {"text": {}},
}
STRICT = "allow-scripts"
ATTACK = "<img src=x onerror=window.hurt=1><script>window.hurt=1</script>"
"""A prompt that harms a page that takes text for HTML."""

WITHOUT_PAUSES = Schedule(first=0.0, min_interval=0.05)
NARROW, USUAL, WIDE, WIDEST = 344, 720, 1100, 1600
"""Widths of the host's page; the narrow one leaves 320 pixels to the view."""

HEIGHT = 760

WINDOW: dict[str, Any] = {"viewport": {"width": USUAL, "height": HEIGHT}, "reduced_motion": "reduce"}
"""Of a browser context. What moves is drawn by the processor, and takes most of its time."""

TIMEOUT_MS = 60_000
"""Of a step in the browser: a busy machine draws a page in several seconds."""

_COLLECT = """
window.violations = [];
addEventListener("securitypolicyviolation", event => violations.push(event.violatedDirective + " " + event.blockedURI));
"""


@dataclass
class Host:
    """One conversation with one view in it.

    Attributes:
        problems: What the browser's console complained of, in the view and in the host.
    """

    page: Page
    client: Client
    problems: list[str] = field(default_factory=list)
    _calls: set[asyncio.Task[Any]] = field(default_factory=set)

    @classmethod
    @asynccontextmanager
    async def open(cls, browser: Browser, client: Client, **options: Any) -> AsyncIterator[Self]:
        """A host in a browser window of its own; ``options`` are the browser's."""
        context = await browser.new_context(**{**WINDOW, **options})
        context.set_default_timeout(TIMEOUT_MS)
        await context.add_init_script(_COLLECT)
        page = await context.new_page()
        host = cls(page, client)
        page.on("console", host._hear_console)
        page.on("pageerror", host._hear_error)
        await page.expose_function("server", host._serve)
        await page.set_content(HOST_PAGE.read_text(encoding="utf-8"))
        try:
            yield host
        finally:
            for call in host._calls:
                call.cancel()
            await asyncio.gather(*host._calls, return_exceptions=True)
            await context.close()

    def _hear_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(message.text)

    def _hear_error(self, error: Error) -> None:
        self.problems.append(str(error))

    async def _serve(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        call = asyncio.current_task()
        assert call is not None
        self._calls.add(call)
        try:
            if method == "tools/call":
                result: Any = await self.client.call_tool(params["name"], params["arguments"])
            else:
                assert method == "resources/read", method
                result = await self.client.read_resource(params["uri"])
        except MCPError as error:
            return {"error": {"code": error.error.code, "message": error.error.message}}
        finally:
            self._calls.discard(call)
        return {"result": wire(result)}

    async def show(
        self,
        uri: str,
        arguments: dict[str, Any],
        *,
        theme: str = "light",
        context: dict[str, Any] | None = None,
        capabilities: dict[str, Any] = EVERYTHING,
        refused: list[str] | None = None,
        sandbox: str = STRICT,
    ) -> None:
        """Load the view as a host does when a tool is called: the page, the handshake, the tool's input."""
        [contents] = (await self.client.read_resource(uri)).contents
        assert isinstance(contents, TextResourceContents)
        assert contents.mime_type == "text/html;profile=mcp-app"
        settings = {
            "html": contents.text,
            "context": {"theme": theme, "containerDimensions": {"maxHeight": 2000}, **(context or {})},
            "capabilities": capabilities,
            "refused": refused or [],
            "sandbox": sandbox,
        }
        await self.page.evaluate("settings => start(settings)", settings)
        await self.page.wait_for_function("() => heard.some(one => one.method === 'ui/notifications/initialized')")
        await self.tell("ui/notifications/tool-input", {"arguments": arguments})

    async def call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        """Call a tool for the model, and hand the result to the view."""
        result = await self.client.call_tool(tool, arguments)
        await self.tell("ui/notifications/tool-result", wire(result))
        return result

    async def tell(self, method: str, params: dict[str, Any]) -> None:
        """A notification to the view."""
        await self.page.evaluate("([method, params]) => tell(method, params)", [method, params])

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """A request to the view. Returns its whole reply."""
        reply: dict[str, Any] = await self.page.evaluate(
            "([method, params]) => request(method, params)", [method, params]
        )
        return reply

    async def heard(self, method: str) -> list[dict[str, Any]]:
        """The parameters of everything that the view has said by this method."""
        said: list[dict[str, Any]] = await self.page.evaluate(
            "method => heard.filter(one => one.method === method).map(one => one.params)", method
        )
        return said

    async def until_heard(self, method: str, count: int = 1) -> list[dict[str, Any]]:
        """As :meth:`heard`, when there are at least that number of messages."""
        await self.page.wait_for_function(
            "([method, count]) => heard.filter(one => one.method === method).length >= count", arg=[method, count]
        )
        return await self.heard(method)

    @property
    def frame(self) -> Frame:
        """The view's own window."""
        return self.page.frames[1]

    def find(self, selector: str) -> Locator:
        """Something in the view."""
        return self.page.frame_locator("#view").locator(selector)

    def button(self, name: str) -> Locator:
        """A button of the view, by the name that assistive technology reads."""
        return self.page.frame_locator("#view").get_by_role("button", name=name, exact=True)

    async def pixels(self, selector: str = "#large") -> tuple[int, int]:
        """The real size of a picture, when it is there."""
        image = self.find(selector)
        await image.wait_for(state="visible")
        size: list[int] = await image.evaluate(
            "async image => { await image.decode(); return [image.naturalWidth, image.naturalHeight] }"
        )
        return size[0], size[1]

    async def still(self) -> None:
        """Return when nothing moves any more but what moves for ever, and the host has followed the view's height."""
        await self.frame.evaluate(
            "Promise.all(document.getAnimations().filter(one => one.effect.getTiming().iterations !== Infinity)"
            ".map(one => one.finished.catch(() => {})))"
        )
        width = await self.page.evaluate("frame.clientWidth")
        await self.frame.wait_for_function("width => innerWidth === width", arg=width)
        await self.frame.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        await self.page.wait_for_function(
            "height => Math.abs(frame.getBoundingClientRect().height - height) < 1.5",
            arg=await self.frame.evaluate("Math.ceil(document.body.getBoundingClientRect().height)"),
        )

    async def resize(self, width: int) -> None:
        """Make the window so wide."""
        await self.page.set_viewport_size({"width": width, "height": HEIGHT})
        await self.page.wait_for_function("width => innerWidth === width", arg=width)

    async def screenshot(self, name: str) -> None:
        """Keep a screenshot for a person to look at."""
        await self.still()
        await self.page.screenshot(path=place_for(name), full_page=True)

    async def complaints(self) -> list[str]:
        """Whatever the browser found wrong: errors on the console, and violations of the policy."""
        violations: list[str] = await self.frame.evaluate("window.violations")
        return self.problems + violations


def quick_client(url: str, **settings: Any) -> Client:
    """A client of a server in this process that queries the API at ``url`` without pauses."""
    return client_at(url, schedule=WITHOUT_PAUSES, **settings)


async def violations(view: Page | Frame) -> list[str]:
    """What the audit of accessibility finds in a page that its source has been loaded into."""
    results: list[dict[str, Any]] = await view.evaluate(
        "axe.run({ resultTypes: ['violations'] }).then(results => results.violations)"
    )
    return [f"{result['id']}: {node['html'][:120]}" for result in results for node in result["nodes"]]


def place_for(name: str) -> Path:
    """Where a screenshot is kept."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return SCREENSHOTS / f"{name}.png"


def wire(result: Any) -> dict[str, Any]:
    """A result as it travels."""
    sent: dict[str, Any] = result.model_dump(mode="json", by_alias=True, exclude_none=True)
    return sent
