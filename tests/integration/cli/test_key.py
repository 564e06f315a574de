"""`key`: the API key in the keyring of the system; here one in a file, made for the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from anyio.to_thread import run_sync as in_thread
from keyring.errors import PasswordSetError
from mcp.client import Client
from mcp.client.stdio import stdio_client

from tests.support.clients import child, clean_environment, client_at, facts, text
from tests.support.command_line import Ended, run_here, run_process
from tests.support.keyring import file_keyring
from tests.support.paths import ROOT
from tests.support.sandbox import plain_sandbox


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    return file_keyring(tmp_path, monkeypatch)


def key(keyring: dict[str, str], *words: str, stdin: str = "") -> Ended:
    return run_here("key", *words, stdin=stdin, settings=keyring)


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


def test_without_the_extra_key_set_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("nano_banana_mcp.common.key_store.find_spec", lambda name: None)
    ended = run_here("key", "set", stdin="dk-one-1234567890\n", NANO_BANANA_STATE_DIR=str(tmp_path))
    assert ended.returncode == 1
    assert "uv tool install '.[keyring]'" in ended.stderr
    assert "uv tool install '.[keyring]'" in (ROOT / "docs" / "hosts.md").read_text(encoding="utf-8")
    assert "DEFAPI_API_KEY" in ended.stderr


def test_the_reason_of_a_keyring_that_refuses_a_key_ends_with_one_full_stop(
    keyring: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(service: str, name: str, password: str) -> None:
        raise PasswordSetError("The keychain is locked.")

    monkeypatch.setattr("keyring.set_password", refuse)
    ended = key(keyring, "set", stdin="dk-one-1234567890\n")
    assert ended.returncode == 1
    assert "The keychain is locked. Set DEFAPI_API_KEY instead" in ended.stderr


async def test_a_running_server_uses_a_changed_key_at_once_and_the_environment_wins(keyring: dict[str, str]) -> None:
    async with plain_sandbox() as sandbox:
        async with Client(stdio_client(child(**keyring, DEFAPI_BASE_URL=sandbox.url))) as client:
            missing = await client.call_tool("generate_image", {"prompt": "a cat"})
            assert missing.is_error
            assert "No API key" in text(missing)
            key(keyring, "set", stdin="dk-invalid\n")
            refused = await client.call_tool("generate_image", {"prompt": "a cat"})
            assert "401" in text(refused)
            await in_thread(set_by_a_process, keyring, "dk-good-1234567890")
            assert facts(await client.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
        async with client_at(sandbox.url, api_key="dk-invalid") as client:
            refused = await client.call_tool("generate_image", {"prompt": "a cat"})
            assert "401" in text(refused)


def set_by_a_process(keyring: dict[str, str], value: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "nano_banana_mcp", "key", "set"],
        env={**clean_environment(), **keyring},
        input=f"{value}\n",
        stdout=subprocess.DEVNULL,
        text=True,
        check=True,
        timeout=240,
    )
