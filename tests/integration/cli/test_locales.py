"""Locales that are not UTF-8: names are UTF-8 on disk all the same, and are printed as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mcp.client import Client
from mcp.client.stdio import stdio_client

from tests.support.clients import child_at, clean_environment, text
from tests.support.sandbox import plain_sandbox

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN_1 = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="paths are Unicode on Windows, in every locale")


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "nano_banana_mcp", *arguments]
    return subprocess.run(
        command, env={**clean_environment(), **settings}, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )


def test_the_doctor_prints_a_path_of_a_file_of_settings_as_it_is_on_disk(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text(f"NANO_BANANA_STATE_DIR={tmp_path}/새벽 é\n", encoding="utf-16")
    ended = run("doctor", "--sandbox", "--env-file", str(file), **ASCII)
    assert f"{tmp_path}/새벽 é can be written to".encode() in ended.stdout
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "새벽 é" / "ledger.sqlite3").exists()


def test_an_error_has_the_path_and_a_readable_reason(tmp_path: Path) -> None:
    (tmp_path / "새벽").touch()
    ended = run("doctor", "--sandbox", NANO_BANANA_STATE_DIR=str(tmp_path / "새벽" / "state"), **LATIN_1)
    assert f"{tmp_path}/새벽/state cannot be written to: Not a directory".encode() in ended.stdout
    assert b"Error" not in ended.stdout + ended.stderr


async def test_an_image_is_saved_under_its_words_and_a_reference_is_looked_for_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "등대").mkdir()
    folder = tmp_path / "등대"
    folders = {"STATE_DIR": tmp_path / "상태", "OUTPUT_DIR": folder, "INPUT_DIRS": folder}
    settings = {**{f"NANO_BANANA_{name}": path for name, path in folders.items()}, **ASCII}
    async with plain_sandbox(seconds=0) as sandbox, Client(stdio_client(child_at(sandbox.url, **settings))) as client:
        result = await client.call_tool("generate_image", {"prompt": "새벽 바다", "wait_seconds": 240})
        refused = await client.call_tool("generate_image", {"prompt": "a sea", "images": [f"{folder}/없음.png"]})
    [saved] = folder.glob("*새벽-바다*.png")
    assert f"Saved as {saved}." in text(result)
    assert saved.name in (folder / "pictures.jsonl").read_text(encoding="utf-8")
    assert "없음.png cannot be read" in text(refused)
