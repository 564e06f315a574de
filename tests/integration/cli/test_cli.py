"""The command line as a person meets it: real processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
import yaml
from anyio.to_thread import run_sync as in_thread
from PIL import Image

from nano_banana_mcp.commands.doctor import configurations
from nano_banana_mcp.settings import Settings
from nano_banana_sandbox.server import serve_sandbox
from tests.support.clients import KEY, clean_environment


def run(
    *arguments: str, cwd: Path | None = None, settings: Mapping[str, str] | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nano_banana_mcp", *arguments],
        env={**clean_environment(), **(settings or {}), **more},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_help_shows_every_setting_with_its_default() -> None:
    shown = run("--help").stdout
    for field in Settings.model_fields.values():
        assert str(field.validation_alias) in shown


def test_a_wrong_value_is_one_line_on_stderr_and_no_traceback() -> None:
    ended = run("doctor", DEFAPI_TIMEOUT_SECONDS="soon")
    assert ended.returncode == 2
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert "DEFAPI_TIMEOUT_SECONDS" in line
    assert "soon" in line


def test_a_wrong_key_is_never_shown() -> None:
    ended = run("doctor", DEFAPI_API_KEY=f"{KEY} with words", DEFAPI_BASE_URL="http://127.0.0.1:9")
    assert ended.returncode == 1
    assert KEY not in ended.stdout + ended.stderr


def test_an_unknown_command_is_refused_in_words() -> None:
    ended = run("paint")
    assert ended.returncode == 2
    assert "paint" in ended.stderr


def test_the_version_is_told() -> None:
    assert re.fullmatch(r"nano-banana-mcp \d+\.\d+\.\d+\n", run("--version").stdout)


def test_the_demo_makes_a_image_that_can_be_opened(tmp_path: Path) -> None:
    ended = run("demo", "a", "lighthouse", "at", "dawn", cwd=tmp_path, NANO_BANANA_SANDBOX_SECONDS="1")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "sandbox" in ended.stdout
    assert "nothing is charged" in ended.stdout
    assert re.search(r"^URL +http://127\.0\.0\.1:\d+/files/\S+\.png$", ended.stdout, re.MULTILINE)
    file = re.search(r"^File +(\S+\.png)", ended.stdout, re.MULTILINE)
    assert file
    assert Path(file[1]).parent == tmp_path / "pictures"
    with Image.open(file[1]) as image:
        assert image.size == (1024, 1024)
    assert "█" in ended.stdout


async def test_the_demo_uses_the_real_api_where_a_key_is_set(tmp_path: Path) -> None:
    """A sandbox stands in for it here, behind DEFAPI_BASE_URL."""
    async with serve_sandbox() as sandbox:
        prompt = "a cat sandbox:seconds=0"
        settings = {"DEFAPI_API_KEY": KEY, "DEFAPI_BASE_URL": sandbox.url}
        ended = await in_thread(lambda: run("demo", prompt, "--output", str(tmp_path / "out"), settings=settings))
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert sandbox.stats.charged == 1
    assert "real API" in ended.stdout
    assert len(list((tmp_path / "out").glob("*.png"))) == 1


async def test_a_demo_that_fails_says_why_and_ends_with_an_error() -> None:
    async with serve_sandbox() as sandbox:
        settings = {"DEFAPI_API_KEY": "dk-invalid", "DEFAPI_BASE_URL": sandbox.url}
        ended = await in_thread(lambda: run("demo", settings=settings))
    assert ended.returncode == 1
    assert "401" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


def test_a_demo_whose_image_cannot_be_fetched_says_so_and_still_prints_its_url(tmp_path: Path) -> None:
    ended = run("demo", "a cat sandbox:file=404", "--sandbox", cwd=tmp_path, NANO_BANANA_SANDBOX_SECONDS="0")
    assert ended.returncode == 1
    assert "could not be saved" in ended.stdout
    assert "URL   http://127.0.0.1" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


async def test_a_demo_that_cannot_save_says_so_before_it_spends_anything(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with serve_sandbox() as sandbox:
        settings = {"DEFAPI_API_KEY": KEY, "DEFAPI_BASE_URL": sandbox.url}
        ended = await in_thread(lambda: run("demo", "--output", str(tmp_path / "file"), settings=settings))
        assert sandbox.stats.submits == 0
    assert ended.returncode == 1
    assert "--output" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


def test_a_terminal_without_the_letters_does_not_end_the_demo(tmp_path: Path) -> None:
    ended = run("demo", "등대", cwd=tmp_path, NANO_BANANA_SANDBOX_SECONDS="0", PYTHONIOENCODING="ascii")
    assert ended.returncode == 0, ended.stderr


def test_the_demo_imports_nothing_of_the_folder_it_is_started_in(tmp_path: Path) -> None:
    for name in ("mcp", "httpx", "anyio", "server", "tools"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was imported')")
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "nano_banana_mcp", "demo", "a cat"],
        env={**clean_environment(), "NANO_BANANA_SANDBOX_SECONDS": "0"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


async def test_the_doctor_finds_everything_well_and_prints_configurations() -> None:
    async with serve_sandbox() as sandbox:
        settings = {"DEFAPI_API_KEY": KEY, "DEFAPI_BASE_URL": sandbox.url}
        ended = await in_thread(lambda: run("doctor", settings=settings))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1000.000000 left" in ended.stdout
    assert KEY not in ended.stdout
    for host in ("Claude Desktop", "Claude Code", "Cursor", "VS Code", "Codex", "Gemini CLI"):
        assert host in ended.stdout


@pytest.mark.parametrize(
    ("key", "base_url", "expected"),
    [
        ("", "http://127.0.0.1:9", "No API key is set"),
        (KEY, "http://127.0.0.1:9", "could not be reached"),
        ("dk-expired", None, "401"),
    ],
)
async def test_the_doctor_names_what_is_wrong(key: str, base_url: str | None, expected: str) -> None:
    async with serve_sandbox() as sandbox:
        settings = {"DEFAPI_API_KEY": key, "DEFAPI_BASE_URL": base_url or sandbox.url}
        ended = await in_thread(lambda: run("doctor", settings=settings))
    assert ended.returncode == 1
    assert expected in ended.stdout
    assert "FAIL" in ended.stdout


def test_the_doctor_notices_a_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = run("doctor", "--sandbox", NANO_BANANA_STATE_DIR=str(tmp_path / "file" / "state"))
    assert ended.returncode == 1
    assert "FAIL  state folder" in ended.stdout


@pytest.mark.parametrize("start", [["/opt/a b/nano-banana-mcp"], ["C:\\Python\\python.exe", "-m", "nano_banana_mcp"]])
def test_the_printed_configurations_can_be_read_by_their_hosts(start: list[str]) -> None:
    by_host = {host.split(" (")[0]: text for host, text in configurations(start).items()}
    for host in ("Claude Desktop", "Cursor", "Gemini CLI"):
        entry = json.loads(by_host[host])["mcpServers"]["nano-banana"]
        assert [entry["command"], *entry["args"]] == start
    assert json.loads(by_host["VS Code"])["servers"]["nano-banana"]["command"] == start[0]
    assert yaml.safe_load(by_host["Goose"])["extensions"]["nano-banana"]["cmd"] == start[0]
    assert tomllib.loads(by_host["Codex"])["mcp_servers"]["nano-banana"]["command"] == start[0]


def test_the_sandbox_runs_alone_and_ends_by_a_signal() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "nano_banana_mcp", "sandbox", "--port", "0", "--directives", "submit=503*1"],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert url
        body = {"model": "m", "prompt": "a cat"}
        answers = [
            httpx.post(f"{url[0]}/api/image/gen", json=body, headers={"Authorization": "Bearer dk-1"}).status_code
            for _ in range(2)
        ]
        assert answers == [503, 200]
        process.terminate()
        assert process.wait(5) == 0


def test_a_sandbox_with_a_misspelt_directive_or_a_taken_port_says_so() -> None:
    ended = run("sandbox", "--port", "0", "--directives", "sumbit=503")
    assert ended.returncode == 1
    assert "sumbit" in ended.stderr
    assert "Traceback" not in ended.stderr
