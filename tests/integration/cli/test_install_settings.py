"""`install`: the settings and the key that an entry gets, and the start of the entry after it is written."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from nano_banana_mcp.install.hosts import HOSTS
from tests.support.clients import KEY
from tests.support.command_line import Ended, run_here
from tests.support.install_files import parsed
from tests.support.keyring import file_keyring
from tests.support.posix import posix_only

OTHER_KEY = "dk-another-0123456789"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


def install(home: Path, host: str, *words: str, **settings: str) -> Ended:
    return run_here("install", host, "--config", home / "config", "--yes", *words, settings=settings)


def entry(home: Path, host: str) -> dict[str, Any]:
    server: dict[str, Any] = parsed(HOSTS[host].form, (home / "config").read_bytes())[HOSTS[host].table]["nano-banana"]
    return server


def environment(home: Path, host: str) -> dict[str, str]:
    values: dict[str, str] = entry(home, host).get("env") or entry(home, host).get("envs") or {}
    return values


@pytest.mark.parametrize("host", HOSTS)
def test_folders_and_model_go_into_the_entry_of_every_host(host: str, home: Path) -> None:
    (home / "photos").mkdir()
    (home / "scans").mkdir()
    options = ["--output-dir", str(home / "art"), "--model", "google/nano-banana-pro", "--sandbox", "--no-test"]
    inputs = ["--input-dir", str(home / "photos"), "--input-dir", str(home / "scans")]
    ended = install(home, host, *options, *inputs)
    assert ended.returncode == 0, ended.stderr
    assert environment(home, host) == {
        "NANO_BANANA_OUTPUT_DIR": str(home / "art"),
        "NANO_BANANA_INPUT_DIRS": f"{home / 'photos'}{os.pathsep}{home / 'scans'}",
        "DEFAPI_MODEL": "google/nano-banana-pro",
    }


def test_a_relative_folder_becomes_absolute(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    install(home, "cursor", "--output-dir", "art", "--sandbox", "--no-test")
    assert environment(home, "cursor")["NANO_BANANA_OUTPUT_DIR"] == str(Path.cwd() / "art")


def test_folders_that_cannot_be_used_are_refused_before_anything_is_written(home: Path) -> None:
    (home / "file").touch()
    missing = install(home, "cursor", "--sandbox", "--input-dir", str(home / "missing"))
    assert missing.returncode == 1
    assert f"there is no folder {home / 'missing'}" in missing.stderr
    blocked = install(home, "cursor", "--sandbox", "--output-dir", str(home / "file" / "art"))
    assert blocked.returncode == 1
    assert "cannot be saved" in blocked.stderr
    assert not (home / "config").exists()


def test_the_settings_of_the_shell_are_carried_and_named_and_secrets_are_not(home: Path) -> None:
    shell = {
        "NANO_BANANA_CREDITS_PER_DAY": "5",
        "NANO_BANANA_STATE_DIR": str(home / "state"),
        "NANO_BANANA_WEBHOOK_KEYS": "a-webhook-secret-0123456789abcdef",
        "NANO_BANANA_PORT": "9000",
    }
    ended = install(home, "cursor", "--sandbox", "--no-test", **shell)
    assert environment(home, "cursor") == {name: shell[name] for name in list(shell)[:2]}
    assert "that the entry gets: NANO_BANANA_CREDITS_PER_DAY, NANO_BANANA_STATE_DIR\n" in ended.stdout
    assert "that it does not get: NANO_BANANA_WEBHOOK_KEYS, NANO_BANANA_PORT\n" in ended.stdout
    assert str(home / "state") in ended.stdout
    assert "a-webhook-secret" not in ended.stdout + (home / "config").read_text()


def test_settings_of_an_earlier_entry_stay_and_are_shown(home: Path) -> None:
    install(home, "cursor", "--sandbox", "--no-test", "--output-dir", str(home / "art"))
    ended = install(home, "cursor", "--sandbox", "--no-test", "--model", "google/other")
    assert environment(home, "cursor") == {
        "NANO_BANANA_OUTPUT_DIR": str(home / "art"),
        "DEFAPI_MODEL": "google/other",
    }
    assert "••••••" not in ended.stdout


def test_the_entry_is_tested_after_it_is_written(home: Path) -> None:
    ended = install(home, "cursor", "--sandbox")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("Tested: the entry starts the server.\n")
    assert "no key" not in ended.stdout
    without_key = install(home, "cursor", "--no-key")
    assert "Tested: the entry starts the server.\nIt has no key yet: " in without_key.stdout
    assert "https://defapi.org" in without_key.stdout


@posix_only
def test_an_entry_that_does_not_start_is_reported_with_the_reason(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = home / "nano-banana-mcp"
    program.write_text("#!/bin/sh\necho 'libfoo is missing' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    ended = install(home, "cursor", "--sandbox")
    assert ended.returncode == 1
    assert entry(home, "cursor")["command"] == str(program)
    assert "does not start: libfoo is missing" in ended.stderr


@pytest.mark.parametrize("wrong", ["sk-0123456789", "dk-", "https://defapi.org/key", "dk-your-key", "dk-열쇠"])
@pytest.mark.parametrize("host", ["claude-desktop", "claude-code"])
def test_a_key_of_an_impossible_form_is_refused_with_where_to_get_one(host: str, wrong: str, home: Path) -> None:
    ended = install(home, host, DEFAPI_API_KEY=wrong)
    assert ended.returncode == 1
    assert "https://defapi.org" in ended.stderr
    assert not (home / "config").exists()


def test_without_a_key_the_error_says_where_to_get_one(home: Path) -> None:
    ended = install(home, "claude-desktop")
    assert ended.returncode == 1
    assert "there is no key. Get one at https://defapi.org." in ended.stderr


def test_with_a_keyring_the_entry_holds_no_secret(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = file_keyring(home, monkeypatch)
    file = home / "config"
    first = ["install", "claude-desktop", "--config", str(file), "--yes"]
    ended = run_here(*first, settings={**keyring, "DEFAPI_API_KEY": KEY})
    assert ended.returncode == 0, ended.stderr
    assert "in the keyring of this system, not in the entry" in ended.stdout
    assert "Tested: the entry starts the server." in ended.stdout
    assert "no key" not in ended.stdout
    assert KEY not in file.read_text() + ended.stdout
    assert KEY in Path(keyring["KEYRING_FILE"]).read_text()
    again = run_here("install", "cursor", "--config", home / "cursor", "--yes", settings=keyring)
    assert again.returncode == 0, again.stderr
    assert "DEFAPI_API_KEY" not in (home / "cursor").read_text()


def test_a_key_in_an_entry_moves_out_when_the_keyring_has_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = file_keyring(home, monkeypatch)
    file = home / "config"
    words = ["install", "claude-desktop", "--config", str(file), "--yes", "--no-test"]
    run_here(*words, "--store-key", settings={**keyring, "DEFAPI_API_KEY": OTHER_KEY})
    assert OTHER_KEY in file.read_text()
    run_here(*words, settings={**keyring, "DEFAPI_API_KEY": KEY})
    assert OTHER_KEY not in file.read_text()
    assert KEY not in file.read_text()
    assert json.loads(Path(keyring["KEYRING_FILE"]).read_text()) == {"nano-banana-mcp/DEFAPI_API_KEY": KEY}
    removed = run_here("uninstall", *words[1:-1], settings=keyring)
    assert "The file has nothing else in it and is removed." in removed.stdout
    assert "`nano-banana-mcp key remove`" in removed.stdout
