"""The calls of every client, and the record of their results.

The standard library only: this also runs in environments that have nothing of this project.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SHOWS = (
    "structured",
    "link",
    "read",
    "picture",
    "progress",
    "error",
    "failure",
    "resources",
    "prompts",
    "completion",
    "updates",
)
"""What a client can show besides tools: see docs/interop.md for what each is."""

NO_SUCH_TASK = "ta00000000-0000-4000-8000-000000000000"
PROMPT = "a lighthouse at dawn"
FAILING = "a lighthouse sandbox:result=failed"
PHOTO = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A PNG of one pixel."""


@dataclass
class Answer:
    """What a call gave to the client, or to the model behind it."""

    text: str = ""
    error: bool = False
    structured: dict[str, Any] | None = None
    links: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    """Their MIME types."""


@dataclass
class Seen:
    """What one client saw of the server, over one transport."""

    version: str = ""
    protocol: str = ""
    tools: list[str] = field(default_factory=list)
    calls: dict[str, str] = field(default_factory=dict)
    """Tool → "ok", or what was wrong."""
    shows: list[str] = field(default_factory=list)
    trouble: dict[str, str] = field(default_factory=dict)
    """What was tried and did not do → why."""
    extra: dict[str, str] = field(default_factory=dict)
    handover: list[str] = field(default_factory=list)
    """The methods at which its servers over stdio ended their instant start; none over HTTP."""


class Client:
    """What a client has to bring along; methods that are not overridden are things that it cannot do."""

    progress: int = 0
    """How many reports of progress have come."""

    read: Callable[[str], Awaitable[str]] | None = None
    """Read a resource: its MIME type, if it came with bytes or text."""
    resources: Callable[[], Awaitable[list[str]]] | None = None
    """The URIs of ``resources/list``."""
    prompts: Callable[[], Awaitable[list[str]]] | None = None
    """The names of the prompts."""
    prompt: Callable[[str, dict[str, str]], Awaitable[str]] | None = None
    """The text of a prompt, filled in."""
    complete: Callable[[str, str, str], Awaitable[list[str]]] | None = None
    """What is offered for an argument of a prompt that begins like this."""
    updated: Callable[[str, Callable[[], Awaitable[None]]], Awaitable[bool]] | None = None
    """Whether news of a resource came, with something to do after having subscribed."""

    async def list_tools(self) -> list[str]:
        """The names of the tools."""
        raise NotImplementedError

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        """Call a tool."""
        raise NotImplementedError


async def walk(client: Client, seen: Seen) -> None:
    """Do everything once, and write down into ``seen`` what came of it."""
    seen.tools = await client.list_tools()
    made = await _call(client, seen, "generate_image", {"prompt": PROMPT}, "task_id")
    task = task_id(made)
    waited = await _call(client, seen, "wait_for_image", {"task_id": task, "timeout_seconds": 30}, "success")
    await _call(client, seen, "get_task", {"task_id": task}, "success")
    viewed = await _call(client, seen, "view_image", {"task_id": task}, "")
    await _call(client, seen, "browse_images", {}, task)
    await _call(client, seen, "get_account", {}, "credits")
    await _call(client, seen, "read_picture", {"task_id": task}, "")
    opened = await _call(client, seen, "add_reference", {"purpose": "a photo of you"}, "up-")
    await _call(client, seen, "upload_image", {"upload_id": upload_id(opened), "data": PHOTO}, "nanobanana://uploads/")

    _note(seen, "structured", any("status" in (answer.structured or {}) for answer in (made, waited)))
    _note(seen, "link", bool(waited.links))
    _note(seen, "picture", viewed.images[:1] in (["image/jpeg"], ["image/png"], ["image/webp"]))
    _note(seen, "progress", client.progress > 0)
    missing = await client.call("get_task", {"task_id": NO_SUCH_TASK})
    _note(seen, "error", missing.error and "no such task" in missing.text)
    failed = await client.call("generate_image", {"prompt": FAILING, "wait_seconds": 30})
    _note(seen, "failure", failed.error and "failed" in failed.text)
    await _beyond_tools(client, seen, task, waited.links)


async def _beyond_tools(client: Client, seen: Seen, task: str, links: list[str]) -> None:
    if client.read is not None:
        uris = [*links[:1], f"nanobanana://tasks/{task}/images/0"]
        types = [await client.read(uri) for uri in uris]
        _note(seen, "read", all(kind.startswith("image/") for kind in types), f"read as {types}")
    if client.resources is not None:
        _note(seen, "resources", "nanobanana://tasks" in await client.resources())
    if client.prompts is not None and client.prompt is not None:
        names = await client.prompts()
        text = await client.prompt("poster", {"text": "OPEN", "subject": "a bakery"}) if "poster" in names else ""
        _note(seen, "prompts", "generate_image" in text and "a bakery" in text)
    if client.complete is not None:
        _note(seen, "completion", await client.complete("poster", "aspect_ratio", "4") == ["4:3", "4:5"])
    if client.updated is not None:

        async def make_one() -> None:
            await client.call("generate_image", {"prompt": PROMPT, "wait_seconds": 30})

        _note(seen, "updates", await client.updated("nanobanana://tasks", make_one))


async def _call(client: Client, seen: Seen, tool: str, arguments: dict[str, Any], expected: str) -> Answer:
    answer = await client.call(tool, arguments)
    whole = answer.text + json.dumps(answer.structured)
    seen.calls[tool] = f"error: {answer.text[:200]}" if answer.error else "ok" if expected in whole else whole[:200]
    return answer


def task_id(answer: Answer) -> str:
    """The task that an answer names, wherever it does."""
    return _named(r"\bta[0-9a-f-]{36}", answer)


def upload_id(answer: Answer) -> str:
    """The upload that an answer names, likewise."""
    return _named(r"\bup-[0-9a-f]{24}", answer)


def _named(pattern: str, answer: Answer) -> str:
    match = re.search(pattern, answer.text + json.dumps(answer.structured))
    if match is None:
        raise ValueError(f"no {pattern} in {answer}")
    return match[0]


def note_task(seen: Seen, what: str, facts: dict[str, Any] | None) -> None:
    """Note whether a call that was answered with a task gave the finished image in the end."""
    images = (facts or {}).get("images") or [{}]
    _note(seen, what, (facts or {}).get("status") == "success" and "resource_uri" in images[0], str(facts))


def _note(seen: Seen, what: str, shown: bool, why: str = "it was tried, and did not come") -> None:
    if shown:
        seen.shows.append(what)
    else:
        seen.trouble[what] = why


def run(main: Callable[[dict[str, Any], Seen], Awaitable[None]]) -> None:
    """The whole of a client's program: ``python -m tests.lab.interop.clients.NAME JOB RESULT``.

    JOB is JSON: ``transport``, and either ``command``, ``args`` and ``env``, or ``url``; and ``mode``. RESULT is the
    file that takes what was seen.
    """
    import asyncio

    job, result = json.loads(sys.argv[1]), Path(sys.argv[2])
    seen = Seen()

    async def bounded() -> None:
        await asyncio.wait_for(main(job, seen), job["seconds"])

    asyncio.run(bounded())
    result.write_text(json.dumps(asdict(seen)), encoding="utf-8")
