"""`key`: the API key in the keyring of the system; here one in a file, made for the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from anyio.to_thread import run_sync as in_thread
from mcp.client import Client
from mcp.client.stdio import stdio_client

from nano_banana_sandbox.server import serve_sandbox
from tests.support.clients import child, clean_environment, facts, text
from tests.support.command_line import Ended, run_here, run_process
from tests.support.keyring import file_keyring


@pytest.fixture
def keyring(tmp_path: Path) -> dict[str, str]:
    return file_keyring(tmp_path)


def key(keyring: dict[str, str], *words: str, stdin: str = "", **more: str) -> Ended:
    ended = subprocess.run(
        [sys.executable, "-m", "nano_banana_mcp", "key", *words],
        env={**clean_environment(), **keyring, **more},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def test_a_key_is_stored_shown_nowhere_and_removed(keyring: dict[str, str]) -> None:
    stored = key(keyring, "set", stdin="dk-one-1234567890\n")
    assert stored.returncode == 0, stored.stderr
    assert "dk-one" in Path(keyring["KEYRING_FILE"]).read_text()
    shown = key(keyring, "show")
    assert "keyring" in shown.stdout
    assert "dk-one" not in stored.stdout + stored.stderr + shown.stdout
    assert key(keyring, "remove").returncode == 0
    assert "dk-one" not in Path(keyring["KEYRING_FILE"]).read_text()
    assert "No key is stored" in key(keyring, "remove").stdout


@pytest.mark.parametrize(
    "wrong", ["", "dk-", "sk-1234567890", "https://defapi.org/key", "dk-two words", "dk-열쇠", "${KEY}"]
)
def test_a_key_of_an_impossible_form_is_refused_and_not_repeated(
    wrong: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("keyring.get_keyring", lambda: None)
    monkeypatch.setattr("keyring.set_password", pytest.fail)
    refused = run_here("key", "set", stdin=f"{wrong}\n", NANO_BANANA_STATE_DIR=str(tmp_path))
    assert refused.returncode == 2
    assert "https://defapi.org" in refused.stderr
    assert len(wrong) < 4 or wrong not in refused.stderr.replace("https://defapi.org", "")


def test_without_a_keyring_the_error_says_what_else_to_do(tmp_path: Path) -> None:
    ended = run_process("key", "set", NANO_BANANA_STATE_DIR=str(tmp_path))
    assert ended.returncode == 1
    assert "DEFAPI_API_KEY" in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_a_running_server_uses_a_changed_key_at_once_and_the_environment_wins(keyring: dict[str, str]) -> None:
    async with serve_sandbox() as sandbox:
        settings = {**keyring, "DEFAPI_BASE_URL": sandbox.url}
        async with Client(stdio_client(child(**settings))) as client:
            missing = await client.call_tool("generate_image", {"prompt": "a cat"})
            assert missing.is_error
            assert "No API key" in text(missing)
            await in_thread(lambda: key(keyring, "set", stdin="dk-invalid\n"))
            refused = await client.call_tool("generate_image", {"prompt": "a cat"})
            assert "401" in text(refused)
            await in_thread(lambda: key(keyring, "set", stdin="dk-good-1234567890\n"))
            assert facts(await client.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
        async with Client(stdio_client(child(DEFAPI_API_KEY="dk-invalid", **settings))) as client:
            refused = await client.call_tool("generate_image", {"prompt": "a cat"})
            assert "401" in text(refused)
