"""No file of the server's machine is reached over HTTP."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
from mcp.client import Client
from PIL import Image

from tests.support.clients import facts, text
from tests.support.http_server import at, served
from tests.support.posix import posix_only
from tests.support.sandbox import plain_sandbox


@posix_only
async def test_paths_are_refused_in_the_same_words_whatever_is_there_even_in_an_allowed_folder(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "cat.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("/proc/self/environ")
    async with (
        plain_sandbox(seconds=0.0) as sandbox,
        served(**at(sandbox.url, NANO_BANANA_INPUT_DIRS=str(tmp_path))) as server,
        Client(server.url) as client,
    ):
        words = set()
        for reference in (
            *(f"{tmp_path}/{name}" for name in ("cat.png", "none.png", "pipe.png", "link.png", "")),
            f"file://{tmp_path}/cat.png",
            "/proc/self/environ",
            "/dev/zero",
            "file:///etc/passwd",
            "~/cat.png",
        ):
            with anyio.fail_after(60):
                result = await client.call_tool("generate_image", {"prompt": "x", "images": [reference]})
            assert result.is_error
            words.add(text(result))
        assert len(words) == 1
        assert str(tmp_path) not in words.pop()
        assert sandbox.stats.submits == 0


async def test_an_image_made_before_is_a_reference_over_http_and_is_kept(tmp_path: Path) -> None:
    async with plain_sandbox(seconds=0.0) as sandbox:
        settings = at(sandbox.url, NANO_BANANA_OUTPUT_DIR=str(tmp_path), NANO_BANANA_ALLOWED_HOSTS="a.example")
        async with served(**settings) as server, Client(server.url) as client:
            made = await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
            assert facts(made)["message"] == "Saved by the server."
            uri = facts(made)["images"][0]["resource_uri"]
            result = await client.call_tool("generate_image", {"prompt": "at night", "images": [uri]})
            assert not result.is_error, text(result)
        assert sandbox.tasks[-1].order.request["images"][0].startswith("data:image/png;base64,")
        assert len(list(tmp_path.glob("*.png"))) == 1
