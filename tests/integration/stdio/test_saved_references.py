"""Saving and references with the server as a real child process."""

from __future__ import annotations

from pathlib import Path

from mcp.client import Client
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from tests.support.clients import child_at, facts, text
from tests.support.sandbox import plain_sandbox


async def test_an_image_is_saved_and_the_next_is_made_from_it_in_one_call(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    settings = {"NANO_BANANA_OUTPUT_DIR": folder, "NANO_BANANA_INPUT_DIRS": folder}
    async with plain_sandbox(seconds=0) as sandbox, Client(child_at(sandbox.url, **settings)) as client:
        made = await client.call_tool("generate_image", {"prompt": "a lighthouse at dawn", "wait_seconds": 240})
        [path] = folder.glob("*.png")
        assert facts(made)["message"] == f"Saved as {path}."
        with Image.open(path) as image:
            assert isinstance(image, PngImageFile)
            assert image.text["Description"] == "a lighthouse at dawn"
            assert image.text["Software"] == "nano-banana-mcp (sandbox)"
        for reference in (facts(made)["images"][0]["resource_uri"], str(path), path.as_uri()):
            arguments = {"prompt": "now make it night", "images": [reference], "wait_seconds": 240}
            result = await client.call_tool("generate_image", arguments)
            assert facts(result)["status"] == "success", text(result)
        assert len(list(folder.glob("*.png"))) == 4
