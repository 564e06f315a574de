"""Every state of the image view, and the messages that lead to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser

from nano_banana_tools.apps import IMAGE_URI
from tests.integration.browser.host import EVERYTHING, Host, quick_client
from tests.support.sandbox import plain_sandbox

PROMPT = "A lighthouse on a quiet coast at dawn, thin fog over the water"
LONG_PROMPT = f"{PROMPT}. " * 12
WITHOUT_TOOLS = {name: value for name, value in EVERYTHING.items() if name != "serverTools"}

Step = Callable[[Host], Awaitable[None]]


async def ended(host: Host) -> None:
    """The view has seen the end of the generation, and shows every picture of it."""
    await host.find("main:not(.waiting)").wait_for()
    await host.frame.wait_for_function(
        "() => document.querySelectorAll('#grid:not([hidden]) .cell:not(:has(img, span))').length === 0"
        " && document.getElementById('shimmer').hidden"
    )


async def nothing(host: Host) -> None:
    """Nothing more has to happen."""


async def opened(host: Host) -> None:
    await ended(host)
    await host.find("#grid li:nth-child(2) button").click()
    await host.pixels()


async def one_missing(host: Host) -> None:
    await ended(host)
    await host.find(".cell:not(:has(img))").first.click()


async def editing(host: Host) -> None:
    await ended(host)
    await host.button("Edit this").click()


async def marking(host: Host) -> None:
    await ended(host)
    await host.button("Mark up").click()
    await host.find("canvas[role=application]").wait_for()


async def cancelled(host: Host) -> None:
    await host.tell("ui/notifications/tool-cancelled", {"reason": "user action"})


async def unfolded(host: Host) -> None:
    await ended(host)
    await host.button("Show the whole prompt").click()


@dataclass(frozen=True)
class State:
    """One state.

    Attributes:
        says: Words that a person then reads.
        directives: What the sandbox is to do.
        then: What happens after the tool's result has come.
        called: Whether the tool is called at all.
        settings: The server's, where they differ.
        shown: How the host shows it, where that differs.
    """

    name: str
    says: tuple[str, ...]
    directives: str = ""
    prompt: str = PROMPT
    wait_seconds: float = 0
    count: int = 1
    then: Step = ended
    called: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "prompt": f"{self.prompt} {self.directives}".strip(),
            "wait_seconds": self.wait_seconds,
            "count": self.count,
        }


STATES = [
    State("waiting", ("Making your picture", PROMPT, "0:0"), "sandbox:seconds=3600", then=nothing),
    State(
        "paused",
        ("Still being made", "Nothing is lost"),
        "sandbox:seconds=3600",
        then=nothing,
        shown={"capabilities": WITHOUT_TOOLS},
    ),
    State("picture", (PROMPT, "google/gempix2", "0.5 credits")),
    State("pictures", ("4 pictures", PROMPT), "sandbox:result=many"),
    State("one-of-many", ("2 of 4",), "sandbox:result=many", then=opened),
    State(
        "one-missing",
        ("cannot be shown here", "of 4"),
        "sandbox:result=many sandbox:file=404",
        wait_seconds=240,
        then=one_missing,
        shown={"capabilities": WITHOUT_TOOLS},
    ),
    State("batch-waiting", ("Making 4 pictures", "Being made"), "sandbox:seconds=3600", count=4, then=nothing),
    State(
        "batch",
        ("3 pictures", "Not made: The image API refused", "Number 1 failed", "1.5 credits", "Download all"),
        "sandbox:submit=400*1",
        count=4,
    ),
    State("edit", ("What should change?",), then=editing),
    State("mark-up", ("Mark up", "What should change where you marked it?"), then=marking),
    State("long-prompt", ("Show less", LONG_PROMPT[-60:].strip()), prompt=LONG_PROMPT, then=unfolded),
    State("failed", ("No picture this time", "could not be generated", "Try again"), "sandbox:result=failed"),
    State("text-only", ("No picture this time", "answered in words", "may have been charged"), "sandbox:result=text"),
    State(
        "unknown",
        ("The outcome is not known yet", "Do not repeat the call: it could be charged twice"),
        "sandbox:submit=reset-after",
    ),
    State("no-key", ("could not be made", "DEFAPI_API_KEY"), settings={"api_key": None}),
    State("cancelled", ("The call was stopped", "is not lost"), called=False, then=cancelled),
    State("unreadable", ("cannot be shown here", "Open"), "sandbox:file=404"),
]


@asynccontextmanager
async def in_state(state: State, browser: Browser, theme: str = "light", **options: Any) -> AsyncIterator[Host]:
    """A host whose view is in this state, with the server and the sandbox behind it."""
    async with (
        plain_sandbox(seconds=0) as sandbox,
        quick_client(sandbox.url, **state.settings) as client,
        Host.open(browser, client, **options) as host,
    ):
        await host.show(IMAGE_URI, state.arguments, theme=theme, **state.shown)
        if state.called:
            await host.call("generate_image", state.arguments)
        await state.then(host)
        yield host


async def first_paint(browser: Browser) -> float:
    """Milliseconds to the first contentful paint of a view that waits for its picture."""
    async with in_state(STATES[0], browser) as host:
        ratio: float = await host.frame.evaluate(
            """new Promise(done => new PerformanceObserver(list => {
                 const [paint] = list.getEntriesByName("first-contentful-paint");
                 if (paint) done(paint.startTime);
               }).observe({ type: "paint", buffered: true }))"""
        )
        return ratio
