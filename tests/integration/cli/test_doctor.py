"""`doctor`: its checks, verdict and exit code, and the entries of hosts, which it starts."""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from anyio.to_thread import run_sync as in_thread

from nano_banana_mcp.commands.findings import Finding
from nano_banana_mcp.commands.host_checks import check_entry
from nano_banana_mcp.commands.remote_checks import check_remote_entry, is_remote_entry
from nano_banana_mcp.install.hosts import HOSTS, TOKEN, Host, Secret, Server
from tests.support.authorization_server import serve_authorization
from tests.support.clients import KEY
from tests.support.command_line import Ended, run_here
from tests.support.http_server import at, free_port, served
from tests.support.posix import posix_only
from tests.support.sandbox import plain_sandbox
from tests.support.team import grant

PROGRAM = [sys.executable, "-m", "nano_banana_mcp"]
ON_A_BUSY_MACHINE = 120.0
"""Seconds for a server to answer."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any host."""
    for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def doctor(*words: object, **settings: str) -> Ended:
    return run_here("doctor", "--sandbox", *words, settings=settings)


def line(ended: Ended, subject: str) -> str:
    [match] = [text for text in ended.stdout.splitlines() if text[6:].startswith(subject)]
    return match


def entry(*arguments: str, program: list[str] = PROGRAM, env: dict[str, str] | None = None) -> dict[str, Any]:
    return {"command": program[0], "args": [*program[1:], *arguments], "env": env or {}}


def cursor(home: Path, **entries: Any) -> None:
    (home / ".cursor").mkdir()
    (home / ".cursor" / "mcp.json").write_text(json.dumps({"mcpServers": entries}))


def script(folder: Path, text: str) -> list[str]:
    """A program of our name that does what the text says."""
    file = folder / "bin" / "nano-banana-mcp"
    file.parent.mkdir()
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return [str(file)]


async def test_a_good_report_fits_a_screen_and_ends_with_its_verdict(home: Path) -> None:
    async with plain_sandbox() as sandbox:
        settings = {"DEFAPI_API_KEY": KEY, "DEFAPI_BASE_URL": sandbox.url}
        ended = await in_thread(lambda: run_here("doctor", settings=settings))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    assert len(lines) < 24
    assert lines[-1].startswith("Everything works: ")
    assert "1000.000000 left" in ended.stdout
    assert "mcpServers" not in ended.stdout
    assert KEY not in ended.stdout


def test_the_configurations_are_printed_where_they_are_asked_for(home: Path) -> None:
    ended = doctor("--configs")
    for host in ("Claude Desktop", "Claude Code", "Cursor", "VS Code", "Codex", "Gemini CLI"):
        assert host in ended.stdout
    assert "mcpServers" in ended.stdout
    assert ended.stdout.splitlines()[-1].startswith("Everything works: ")


def test_the_report_as_json_has_each_check_and_the_verdict(home: Path) -> None:
    report = json.loads(doctor("--json").stdout)
    assert report["ok"] is True
    assert all(check.keys() == {"ok", "subject", "text", "advice"} for check in report["checks"])
    assert "configurations" not in report
    failed = doctor("--json", "--configs", NANO_BANANA_OUTPUT_DIR=str(home / "none" / "x"), NANO_BANANA_CREDIT="1")
    report = json.loads(failed.stdout)
    assert failed.returncode == 1
    assert report["ok"] is False
    assert report["verdict"].startswith("Not everything works: ")
    assert next(check["subject"] for check in report["checks"] if not check["ok"]) == "settings"
    assert "mcpServers" in "".join(report["configurations"].values())


@pytest.mark.parametrize(
    ("key", "base_url", "expected"),
    [
        ("", "http://127.0.0.1:9", "No API key is set"),
        (KEY, "http://127.0.0.1:9", "could not be reached"),
        ("dk-expired", None, "401"),
    ],
)
async def test_a_report_with_a_failure_says_what_is_wrong(
    key: str, base_url: str | None, expected: str, home: Path
) -> None:
    async with plain_sandbox() as sandbox:
        settings = {"DEFAPI_API_KEY": key, "DEFAPI_BASE_URL": base_url or sandbox.url}
        ended = await in_thread(lambda: run_here("doctor", settings=settings))
    assert ended.returncode == 1
    assert expected in ended.stdout
    assert "FAIL" in ended.stdout
    assert ended.stdout.splitlines()[-1].startswith("Not everything works: ")


def test_a_state_folder_that_cannot_be_written_fails(home: Path) -> None:
    (home / "file").write_text("")
    ended = doctor(NANO_BANANA_STATE_DIR=str(home / "file" / "state"))
    assert ended.returncode == 1
    assert line(ended, "state folder").startswith("FAIL")


def test_a_misspelt_setting_fails_with_a_suggestion(home: Path) -> None:
    ended = doctor(NANO_BANANA_CREDITS_PER_DAYS="5")
    assert ended.returncode == 1
    assert "NANO_BANANA_CREDITS_PER_DAYS is not a setting" in ended.stdout
    assert "Did you mean NANO_BANANA_CREDITS_PER_DAY?" in ended.stdout


def test_a_missing_key_comes_with_where_to_get_one(home: Path) -> None:
    ended = run_here("doctor", settings={"DEFAPI_BASE_URL": "http://127.0.0.1:9"})
    assert line(ended, "key").startswith("FAIL")
    assert "Get a key at https://defapi.org" in ended.stdout


def test_the_limits_are_listed_or_where_to_set_one(home: Path) -> None:
    assert "NANO_BANANA_CREDITS_PER_DAY" in line(doctor(), "limits")
    limited = line(doctor(NANO_BANANA_CREDITS_PER_DAY="12.5", NANO_BANANA_TOTAL_OPEN_TASKS="7"), "limits")
    assert "each caller: 12.5 credits a day; all together: 7 unfinished pictures" in limited


def test_a_tokens_file_is_read_and_its_tokens_counted(home: Path) -> None:
    file = home / "tokens.json"
    settings = {"NANO_BANANA_TOKENS_FILE": str(file)}
    missing = doctor(**settings)
    assert missing.returncode == 1
    assert "token create" in line(missing, "tokens file")
    run_here("token", "create", "alice", settings=settings)
    ended = doctor(**settings)
    assert ended.returncode == 0, ended.stdout
    assert "1 token of 1 principal in " in line(ended, "tokens file")
    assert "120 calls a minute" in line(ended, "limits")
    run_here("token", "revoke", "alice", settings=settings)
    assert line(doctor(**settings), "tokens file").startswith("FAIL")
    file.write_text("{")
    assert line(doctor(**settings), "tokens file").startswith("FAIL")


async def test_an_issuer_is_asked_for_its_keys(home: Path) -> None:
    settings = {"NANO_BANANA_OAUTH_AUDIENCE": "https://mcp.example.org/mcp"}
    async with serve_authorization() as issuer:
        good = await in_thread(lambda: doctor(NANO_BANANA_OAUTH_ISSUER=issuer.url, **settings))
    assert line(good, "OAuth issuer").startswith("ok")
    away = await in_thread(lambda: doctor(NANO_BANANA_OAUTH_ISSUER=f"http://127.0.0.1:{free_port()}", **settings))
    assert line(away, "OAuth issuer").startswith("FAIL")
    assert away.returncode == 1
    incomplete = await in_thread(lambda: doctor(NANO_BANANA_OAUTH_ISSUER=f"http://127.0.0.1:{free_port()}"))
    assert "NANO_BANANA_PUBLIC_URL" in line(incomplete, "serve --http")


def test_a_setting_that_the_team_server_would_refuse_fails(home: Path) -> None:
    ended = doctor(NANO_BANANA_HOST="0.0.0.0")
    assert line(ended, "serve --http").startswith("FAIL")
    assert "without authentication" in line(ended, "serve --http")


def test_without_a_host_the_report_says_how_to_add_one(home: Path) -> None:
    assert "nano-banana-mcp install HOST" in line(doctor(), "hosts")


def test_the_entry_of_an_installed_host_is_started(home: Path) -> None:
    cursor(home, pictures=entry("--sandbox"), other={"command": str(home / "never-started")})
    ended = doctor()
    assert ended.returncode == 0, ended.stdout
    assert "“pictures” starts in" in line(ended, "Cursor")
    assert "other" not in ended.stdout


@posix_only
def test_an_entry_that_does_not_start_fails_with_the_reason(home: Path) -> None:
    crashing = script(home, "echo 'libfoo is missing' >&2; exit 3")
    cursor(home, gone=entry(program=["/gone/nano-banana-mcp"]), crashing=entry(program=crashing))
    ended = doctor()
    assert ended.returncode == 1
    gone, crashed = [text for text in ended.stdout.splitlines() if "does not start" in text]
    assert "/gone/nano-banana-mcp: No such file" in gone
    assert "libfoo is missing" in crashed
    assert "nano-banana-mcp install cursor" in ended.stdout
    assert "2 of 10 checks failed." in ended.stdout.splitlines()[-1]


@posix_only
@pytest.mark.parametrize("text", ["exec sleep 600", "echo hello; exec sleep 600"])
async def test_an_entry_that_does_not_answer_ends_in_time(text: str, tmp_path: Path) -> None:
    finding = await check_entry(HOSTS["cursor"], "pictures", entry(program=script(tmp_path, text)), timeout_seconds=0.2)
    assert not finding.is_good
    assert finding.text == "“pictures” does not start: no answer within 0.2 s"


@pytest.mark.parametrize(
    ("host", "env", "problem"),
    [
        ("claude-desktop", {}, "neither the entry nor the keyring has one"),
        ("claude-desktop", {"DEFAPI_API_KEY": "${DEFAPI_API_KEY}"}, "placeholder"),
        ("cursor", {}, "DEFAPI_API_KEY is not set here"),
        ("cursor", {"DEFAPI_API_KEY": "${env:DEFAPI_API_KEY}"}, "DEFAPI_API_KEY, which Cursor reads, is not set here"),
        ("cursor", {"DEFAPI_API_KEY": "${env:OTHER_KEY}"}, None),
        ("gemini", {"DEFAPI_API_KEY": "$OTHER_KEY"}, None),
        ("cursor", {"DEFAPI_API_KEY": "dk-your-key"}, "placeholder"),
        ("vscode", {"DEFAPI_API_KEY": "${input:defapi-key}"}, None),
        ("librechat", {"DEFAPI_API_KEY": "${DEFAPI_API_KEY}"}, None),
        ("cursor", {"NANO_BANANA_SANDBOX": "true"}, None),
        ("cursor", {"DEFAPI_API_KEY": KEY, "NANO_BANANA_OUTPUTDIR": "/x"}, "Did you mean NANO_BANANA_OUTPUT_DIR?"),
    ],
)
async def test_the_key_and_the_settings_of_an_entry_are_checked(
    host: str, env: dict[str, str], problem: str | None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEFAPI_API_KEY", raising=False)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.setenv("OTHER_KEY", KEY)
    finding = await check_entry(HOSTS[host], "pictures", entry(env=env))
    assert finding.is_good is (problem is None), finding.text
    assert (problem or "starts in") in finding.text
    assert KEY not in str(finding)


def test_a_configuration_that_no_host_can_read_fails(home: Path) -> None:
    (home / ".cursor").mkdir()
    (home / ".cursor" / "mcp.json").write_text("{")
    assert line(doctor(), "Cursor").startswith("FAIL")


async def test_a_remote_entry_is_called_with_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = tmp_path / "tokens.json"
    token = grant(tokens, "alice")
    async with (
        plain_sandbox(seconds=0) as sandbox,
        served(**at(sandbox.url, NANO_BANANA_TOKENS_FILE=str(tokens))) as it,
    ):
        for host_id in ("cursor", "codex", "gemini", "goose", "zed", "librechat", "vscode", "windsurf", "claude-code"):
            host = HOSTS[host_id]

            async def check(secret: Secret | None, host: Host = host) -> Finding:
                item = host.entry(host, "nano-banana", Server((), f"{it.url}?key=hidden", secret))
                assert is_remote_entry("nano-banana", item)
                return await check_remote_entry(host, "nano-banana", item, timeout_seconds=ON_A_BUSY_MACHINE)

            good = await check(Secret(TOKEN, "stored", token))
            assert good.is_good, good
            assert f"“nano-banana” at {it.url} answers in" in good.text
            wrong = await check(Secret(TOKEN, "stored", "nbm_wrong"))
            assert (wrong.is_good, "refuses the token" in wrong.text) == (False, True), wrong
            assert f"install {host_id} --url" in str(wrong.advice)
            without = await check(None)
            assert (without.is_good, "asks to sign in" in without.text) == (True, True), without
            for finding in (good, wrong, without):
                assert not {"hidden", token, "nbm_wrong"} & set(re.split(r"\W", str(finding)))
            if host.reference is not None:
                monkeypatch.delenv(TOKEN, raising=False)
                unset = await check(Secret(TOKEN, "reference"))
                assert unset.is_good is host.fills_in_itself, unset
                monkeypatch.setenv(TOKEN, token)
                assert (await check(Secret(TOKEN, "reference"))).is_good


async def test_an_address_that_is_no_mcp_server_has_a_reason(tmp_path: Path) -> None:
    host = HOSTS["cursor"]
    async with plain_sandbox(seconds=0) as sandbox:
        for url, reason in (
            (f"{sandbox.url}/mcp", "is not an MCP server"),
            (f"http://127.0.0.1:{free_port()}/mcp", "no connection"),
        ):
            finding = await check_remote_entry(host, "nano-banana", {"url": url}, timeout_seconds=ON_A_BUSY_MACHINE)
            assert (finding.is_good, reason in finding.text) == (False, True), finding


async def test_an_address_that_does_not_answer_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts and never answers
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        finding = await check_remote_entry(HOSTS["cursor"], "nano-banana", {"url": url}, timeout_seconds=0.2)
    assert not finding.is_good
    assert finding.text == f"“nano-banana” at {url}: no answer within 0.2 s"


def test_the_report_has_the_remote_entry_of_a_host_and_calls_no_other_server(home: Path) -> None:
    port = free_port()
    cursor(home, **{"nano-banana": {"url": f"http://127.0.0.1:{port}/mcp"}, "other": {"url": "http://127.0.0.1:9/mcp"}})
    ended = doctor()
    assert ended.returncode == 1
    assert f"127.0.0.1:{port}/mcp: no connection" in line(ended, "Cursor")
    assert "127.0.0.1:9" not in ended.stdout
