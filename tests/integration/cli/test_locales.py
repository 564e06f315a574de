"""Locales that are not UTF-8: names are UTF-8 on disk all the same, and are printed as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mcp.client import Client
from mcp.client.stdio import stdio_client

from tests.support.clients import child, clean_environment, text

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LOCALES = [ASCII, {"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}, {**ASCII, "PYTHONIOENCODING": "latin-1"}]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="paths are Unicode on Windows, in every locale")


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "nano_banana_mcp", *arguments]
    return subprocess.run(
        command, env={**clean_environment(), **settings}, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )


@pytest.mark.parametrize("locale", LOCALES, ids=str)
def test_the_doctor_prints_paths_as_they_are_on_disk(locale: dict[str, str], tmp_path: Path) -> None:
    ended = run("doctor", "--sandbox", NANO_BANANA_STATE_DIR=str(tmp_path / "새벽 é"), **locale)
    assert f"{tmp_path}/새벽 é can be written to".encode() in ended.stdout
    assert ended.returncode == 0, ended.stderr


def test_an_error_has_the_path_and_a_readable_reason(tmp_path: Path) -> None:
    (tmp_path / "새벽").touch()
    ended = run("doctor", "--sandbox", NANO_BANANA_STATE_DIR=str(tmp_path / "새벽" / "state"), **ASCII)
    assert f"{tmp_path}/새벽/state cannot be written to: Not a directory".encode() in ended.stdout
    assert b"Error" not in ended.stdout + ended.stderr


def test_folders_of_a_utf_8_file_of_settings_are_found(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text(f"NANO_BANANA_STATE_DIR={tmp_path}/새벽\n", encoding="utf-16")
    ended = run("doctor", "--sandbox", "--env-file", str(file), **ASCII)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "새벽" / "ledger.sqlite3").exists()


async def test_an_image_is_saved_under_its_words_and_the_answer_has_the_path(tmp_path: Path) -> None:
    (tmp_path / "등대").mkdir()
    folders = {"NANO_BANANA_STATE_DIR": tmp_path / "상태", "NANO_BANANA_OUTPUT_DIR": tmp_path / "등대"}
    async with Client(stdio_client(child("--sandbox", NANO_BANANA_SANDBOX_SECONDS="0", **folders, **ASCII))) as client:
        result = await client.call_tool("generate_image", {"prompt": "새벽 바다", "wait_seconds": 240})
    [saved] = (tmp_path / "등대").glob("*새벽-바다*.png")
    assert f"Saved as {saved}." in text(result)
    assert saved.name in (tmp_path / "등대" / "pictures.jsonl").read_text(encoding="utf-8")


async def test_a_reference_is_found_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "원본").mkdir()
    folders = {"NANO_BANANA_STATE_DIR": tmp_path / "state", "NANO_BANANA_INPUT_DIRS": tmp_path / "원본"}
    async with Client(stdio_client(child("--sandbox", NANO_BANANA_SANDBOX_SECONDS="0", **folders, **ASCII))) as client:
        arguments = {"prompt": "a sea", "images": [f"{tmp_path}/원본/없음.png"]}
        result = await client.call_tool("generate_image", arguments)
    assert "없음.png cannot be read" in text(result)
