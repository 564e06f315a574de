"""The program as a process that is on Windows or macOS, as far as its modules see."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from anyio.to_thread import run_sync as in_thread
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.types import CallToolResult

from tests.support.clients import KEY, child, facts, text
from tests.support.handshake import INITIALIZE
from tests.support.paths import ROOT
from tests.support.sandbox import plain_sandbox

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no need to pretend")


def elsewhere(platform: str, *arguments: str, **settings: Any) -> StdioServerParameters:
    """The program as a process on another system."""
    here = child(*arguments, **settings)
    return here.model_copy(update={"args": ["-m", "tests.support.elsewhere", platform, *arguments], "cwd": ROOT})


@pytest.mark.parametrize("platform", ["win32", "darwin"])
async def test_a_plain_stdio_start_does_there_all_that_it_does_here(platform: str, tmp_path: Path) -> None:
    kept, report = tmp_path / "kept", tmp_path / "report.json"
    common = {"DEFAPI_API_KEY": KEY, "NANO_BANANA_STATE_DIR": tmp_path / "state"}
    folders = {"NANO_BANANA_OUTPUT_DIR": kept, "NANO_BANANA_INPUT_DIRS": kept, "ELSEWHERE_REPORT": report}
    async with plain_sandbox(seconds=0.0) as sandbox:
        common["DEFAPI_BASE_URL"] = sandbox.url
        async with Client(elsewhere(platform, **common, **folders)) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} >= {"generate_image", "view_image"}
            made = await draw(client, "a lighthouse at dawn")
            task_id = facts(made)["task_id"]
            [path] = kept.glob("*.png")
            assert facts(made)["message"] == f"Saved as {path}."
            night = await draw(client, "now make it night", str(path))
            assert facts(night)["status"] == "success", text(night)
            (kept / "link.png").symlink_to(path)
            refused = await draw(client, "no", str(kept / "link.png"))
            assert refused.is_error
            assert "link" in text(refused)
            seen = await client.call_tool("view_image", {"task_id": task_id})
            assert any(part.type == "image" for part in seen.content), text(seen)
            resource = await client.read_resource(facts(made)["images"][0]["resource_uri"])
            assert resource.contents
        saved = await in_thread(
            run, elsewhere(platform, "save", task_id, "--output", str(tmp_path / "other"), **common)
        )
        assert [Path(line).parent for line in saved.splitlines()] == [tmp_path / "other"]
    assert len((kept / "pictures.jsonl").read_text("utf-8").splitlines()) == 2
    loaded = json.loads(report.read_text("utf-8"))
    assert {
        "nano_banana_mcp.app",
        "nano_banana_mcp.images.saving.output_folder",
        "nano_banana_mcp.images.local.local_files",
    } <= set(loaded)


async def draw(client: Client, prompt: str, *images: str) -> CallToolResult:
    arguments = {"prompt": prompt, "images": list(images), "wait_seconds": 240}
    return await client.call_tool("generate_image", arguments)


def test_each_message_ends_with_lf_there_too_and_the_sandbox_with_the_server(tmp_path: Path) -> None:
    there = elsewhere("win32", "--sandbox", NANO_BANANA_STATE_DIR=tmp_path)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([there.command, *there.args], env=there.env, cwd=there.cwd, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0
    assert json.loads(line)["id"] == INITIALIZE["id"]
    assert line.endswith(b"}\n")


def test_the_pretence_holds() -> None:
    script = (
        "from tests.support.elsewhere import pretend\n"
        "pretend('win32')\n"
        "from nano_banana_mcp.images.local import local_files\n"
        "from nano_banana_mcp.images.saving import output_folder as folder\n"
        "assert not local_files._WALKS and not hasattr(folder.os, 'O_DIRECTORY') and folder.os.name == 'nt'\n"
        "import os\n"
        "assert os.name == 'posix' and os.O_DIRECTORY\n"
        "exec('import fcntl', {'__name__': 'nano_banana_mcp.x'})\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.stderr.endswith("ModuleNotFoundError: No module named 'fcntl' on win32\n")


def run(parameters: StdioServerParameters) -> str:
    """What the process says, its input ended."""
    command = [parameters.command, *parameters.args]
    ended = subprocess.run(
        command, env=parameters.env, cwd=parameters.cwd, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout.decode()
