"""The program as a process that is on Windows or macOS, as far as its modules see."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from anyio.to_thread import run_sync as in_thread
from mcp.client.stdio import StdioServerParameters

from tests.support.clients import KEY, child
from tests.support.paths import ROOT
from tests.support.raw_stdio import raw_process
from tests.support.sandbox import plain_sandbox

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no need to pretend")


def on_platform(platform: str, *arguments: str, **settings: Any) -> StdioServerParameters:
    """The program as a process on another system."""
    here = child(*arguments, **settings)
    return here.model_copy(update={"args": ["-m", "tests.support.other_platform", platform, *arguments], "cwd": ROOT})


@pytest.mark.parametrize("platform", ["win32", "darwin"])
async def test_a_plain_stdio_start_does_there_all_that_it_does_here(platform: str, tmp_path: Path) -> None:
    output, report = tmp_path / "kept", tmp_path / "report.json"
    folders = {"NANO_BANANA_OUTPUT_DIR": output, "NANO_BANANA_INPUT_DIRS": output, "OTHER_PLATFORM_REPORT": report}

    def converse(parameters: StdioServerParameters) -> str:
        with raw_process(parameters) as server:

            def call(tool: str, **arguments: Any) -> dict[str, Any]:
                result: dict[str, Any] = server.call(len(server.lines) + 1, tool, arguments)["result"]
                return result

            def draw(prompt: str, *images: str) -> dict[str, Any]:
                return call("generate_image", prompt=prompt, images=list(images), wait_seconds=240)

            made = draw("a lighthouse at dawn")["structuredContent"]
            [path] = output.glob("*.png")
            assert made["message"] == f"Saved as {path}."
            night = draw("now make it night", str(path))
            assert night["structuredContent"]["status"] == "success", night
            (output / "link.png").symlink_to(path)
            refused = draw("no", str(output / "link.png"))
            assert refused["isError"]
            assert "link" in str(refused["content"])
            seen = call("view_image", task_id=made["task_id"])
            assert any(part["type"] == "image" for part in seen["content"]), seen
            uri = {"uri": made["images"][0]["resource_uri"]}
            server.send({"jsonrpc": "2.0", "id": 99, "method": "resources/read", "params": uri})
            assert server.answer(99)["result"]["contents"]
            lines = list(server.lines)
            code, errors = server.finish()
        assert code == 0, errors
        assert all(line.endswith(b"}\n") for line in lines), "no CR"
        return str(made["task_id"])

    async with plain_sandbox(seconds=0) as sandbox:
        common = {"DEFAPI_API_KEY": KEY, "DEFAPI_BASE_URL": sandbox.url, "NANO_BANANA_STATE_DIR": tmp_path / "state"}
        task_id = await in_thread(converse, on_platform(platform, **common, **folders))
        if platform == "win32":  # whose files differ most
            words = ("save", task_id, "--output", str(tmp_path / "other"))
            saved = await in_thread(run, on_platform(platform, *words, **common))
            assert [Path(line).parent for line in saved.splitlines()] == [tmp_path / "other"]
    assert len((output / "pictures.jsonl").read_text("utf-8").splitlines()) == 2
    loaded = json.loads(report.read_text("utf-8"))
    assert {
        "nano_banana_mcp.app",
        "nano_banana_mcp.images.saving.output_folder",
        "nano_banana_mcp.images.local.local_files",
    } <= set(loaded)


def test_the_pretended_platform_lacks_what_windows_lacks() -> None:
    script = (
        "from tests.support.other_platform import pretend\n"
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
