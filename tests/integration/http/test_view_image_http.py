"""`view_image` over HTTP in both eras, and a cache that shows no caller another's image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.types import ImageContent

from tests.support.clients import facts
from tests.support.http_server import at, served
from tests.support.sandbox import plain_config, plain_sandbox
from tests.support.two_callers import everything_said_of, shared


@pytest.mark.parametrize(("era", "result"), [("auto", "data-uri"), ("legacy", "url")])
async def test_an_image_is_seen_over_http(era: Any, result: str) -> None:
    async with (
        plain_sandbox(seconds=0) as sandbox,
        served(**at(sandbox.url)) as server,
        Client(server.url, mode=era) as client,
    ):
        prompt = f"a cat sandbox:result={result}"
        made = await client.call_tool("generate_image", {"prompt": prompt, "wait_seconds": 240})
        seen = await client.call_tool("view_image", {"task_id": facts(made)["task_id"], "max_side": 64})
        assert [item.type for item in seen.content] == ["text", "image"]
        assert isinstance(seen.content[1], ImageContent)
        assert seen.structured_content is None


async def test_an_image_in_the_cache_is_still_its_callers_own(tmp_path: Path) -> None:
    async with (
        shared(tmp_path, plain_config(seconds=0)) as server,
        server.caller("alice") as alice,
        server.caller("bob") as bob,
    ):
        made = facts(await alice.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240}))
        task_id, url = made["task_id"], made["images"][0]["url"]
        for _ in range(2):
            seen = await alice.call_tool("view_image", {"task_id": task_id})
            assert not seen.is_error
        assert server.sandbox.stats.files == 1
        said = await everything_said_of(bob, task_id, url)
        assert all("no such task" in item or "Resource not found" in item for item in said)
        assert server.sandbox.stats.files == 1
