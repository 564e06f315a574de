"""The command line: texts and exit codes in this process, and a few real processes."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest
from anyio.to_thread import run_sync as in_thread
from mcp.client.stdio import StdioServerParameters
from PIL import Image
from ruamel.yaml import YAML

from nano_banana_mcp import cli
from nano_banana_mcp.app import build_server
from nano_banana_mcp.commands import demo
from nano_banana_mcp.install.configurations import configurations
from nano_banana_mcp.settings import EXAMPLE_KEY, Settings, load_settings, variable_of
from nano_banana_tools.server import ImageServer
from tests.support.clients import KEY, clean_environment
from tests.support.command_line import Ended, run_here, run_process
from tests.support.sandbox import plain_sandbox


@pytest.fixture
def server_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of `demo` without a process, whose start takes longer than all that the demo does."""

    def here(parameters: StdioServerParameters) -> ImageServer:
        return build_server(load_settings(sandbox="--sandbox" in parameters.args), local=True)

    monkeypatch.setattr(demo, "stdio_client", here)


def test_help_settings_shows_every_setting() -> None:
    shown = run_here("help", "settings").stdout
    for name in Settings.model_fields:
        assert variable_of(name) in shown


def test_a_wrong_value_is_one_line_on_stderr_and_no_traceback() -> None:
    ended = run_here("doctor", DEFAPI_TIMEOUT_SECONDS="soon")
    assert ended.returncode == 2
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert "DEFAPI_TIMEOUT_SECONDS" in line
    assert "soon" in line


def test_a_wrong_key_is_never_shown() -> None:
    ended = run_here("doctor", DEFAPI_API_KEY=f"{KEY} with words", DEFAPI_BASE_URL="http://127.0.0.1:9")
    assert ended.returncode == 1
    assert KEY not in ended.stdout + ended.stderr


def test_an_unknown_command_is_refused_with_a_message() -> None:
    ended = run_here("paint")
    assert ended.returncode == 2
    assert "paint" in ended.stderr


def test_the_version_is_printed() -> None:
    assert re.fullmatch(r"nano-banana-mcp \d+\.\d+\.\d+\n", run_here("--version").stdout)
    assert run_here("-V").stdout == run_here("--version").stdout


def test_the_demo_makes_an_image_that_can_be_opened_and_asks_for_no_confirmation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = str(tmp_path / "state")
    settings = {"NANO_BANANA_STATE_DIR": state, "NANO_BANANA_SANDBOX_SECONDS": "0", "NANO_BANANA_CONFIRM": "always"}
    ended = run_here("demo", "a", "lighthouse", "at", "dawn", settings=settings)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "sandbox" in ended.stdout
    assert "nothing is charged" in ended.stdout
    assert re.search(r"^URL +http://127\.0\.0\.1:\d+/files/\S+\.png$", ended.stdout, re.MULTILINE)
    file = re.search(r"^File +(\S+\.png)", ended.stdout, re.MULTILINE)
    assert file
    assert Path(file[1]).parent == tmp_path / "pictures"
    with Image.open(file[1]) as image:
        assert image.size == (1024, 1024)
    assert re.search(r"^wait_for_image  success$", ended.stdout, re.MULTILINE)
    monkeypatch.chdir(tmp_path.parent)
    [shown] = json.loads(run_here("history", "--json", settings=settings).stdout)["generations"]
    assert shown["files"] == [file[1]]


@pytest.mark.usefixtures("server_in_this_process")
async def test_the_demo_uses_the_real_api_where_a_key_is_set(tmp_path: Path) -> None:
    """A sandbox stands in for it here, behind DEFAPI_BASE_URL."""
    async with plain_sandbox() as sandbox:
        prompt = "a cat sandbox:seconds=0"
        settings = {"DEFAPI_API_KEY": KEY, "DEFAPI_BASE_URL": sandbox.url}
        ended = await in_thread(lambda: run_here("demo", prompt, "--output", tmp_path / "out", settings=settings))
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert sandbox.stats.charged == 1
    assert "real API" in ended.stdout
    assert len(list((tmp_path / "out").glob("*.png"))) == 1


@pytest.mark.usefixtures("server_in_this_process")
async def test_a_demo_that_fails_says_why_and_ends_with_an_error(tmp_path: Path) -> None:
    async with plain_sandbox() as sandbox:
        settings = {"DEFAPI_API_KEY": "dk-invalid", "DEFAPI_BASE_URL": sandbox.url}
        ended = await in_thread(lambda: run_here("demo", "--output", tmp_path, settings=settings))
    assert ended.returncode == 1
    assert "401" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


@pytest.mark.usefixtures("server_in_this_process")
def test_a_demo_whose_image_cannot_be_fetched_prints_the_reason_and_the_url(tmp_path: Path) -> None:
    words = ("demo", "a cat sandbox:file=404", "--sandbox", "--output", tmp_path)
    ended = run_here(*words, NANO_BANANA_SANDBOX_SECONDS="0")
    assert ended.returncode == 1
    assert "could not be saved" in ended.stdout
    assert "URL   http://127.0.0.1" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


async def test_a_demo_that_cannot_save_fails_before_it_spends_credits(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with plain_sandbox() as sandbox:
        settings = {"DEFAPI_API_KEY": KEY, "DEFAPI_BASE_URL": sandbox.url}
        ended = await in_thread(lambda: run_here("demo", "--output", str(tmp_path / "file"), settings=settings))
        assert sandbox.stats.submits == 0
    assert ended.returncode == 1
    assert "--output" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


def test_the_demo_imports_no_module_of_the_working_folder_and_survives_an_ascii_terminal(tmp_path: Path) -> None:
    for name in ("mcp", "httpx", "anyio", "server", "tools"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was imported')")
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "nano_banana_mcp", "demo", "등대"],
        env={**clean_environment(), "NANO_BANANA_SANDBOX_SECONDS": "0", "PYTHONIOENCODING": "ascii"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("start", [["/opt/a b/nano-banana-mcp"], ["C:\\Python\\python.exe", "-m", "nano_banana_mcp"]])
def test_the_printed_configurations_can_be_read_by_their_hosts(start: list[str]) -> None:
    by_host = {host.split(" (")[0]: text for host, text in configurations(start, EXAMPLE_KEY).items()}
    for host in ("Claude Desktop", "Cursor", "Gemini CLI"):
        entry = json.loads(by_host[host])["mcpServers"]["nano-banana"]
        assert [entry["command"], *entry["args"]] == start
    assert json.loads(by_host["VS Code"])["servers"]["nano-banana"]["command"] == start[0]
    assert YAML(typ="safe").load(by_host["Goose"])["extensions"]["nano-banana"]["cmd"] == start[0]
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
        assert process.wait(60) == 0


def test_a_sandbox_with_a_misspelt_directive_or_a_taken_port_ends_with_the_reason() -> None:
    ended = run_here("sandbox", "--port", "0", "--directives", "sumbit=503")
    assert ended.returncode == 1
    assert "sumbit" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["serve", "--http"], "--port or NANO_BANANA_PORT"),
        (["sandbox"], "--port"),
        (["gallery", "--no-browser"], "--port"),
    ],
)
def test_a_port_in_use_is_answered_with_how_to_choose_another(words: list[str], options: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = run_here("--sandbox", *words, "--port", port, NANO_BANANA_STATE_DIR=str(tmp_path))
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert str(port) in line
    assert line.endswith(f"Another program uses it: choose another with {options}.")
    assert "Errno" not in line
    assert "('" not in line


@pytest.mark.parametrize(
    ("words", "options"),
    [(["serve", "--http", "--allow-unauthenticated"], "--host or NANO_BANANA_HOST"), (["sandbox"], "--host")],
)
@pytest.mark.parametrize(
    ("host", "reason"), [("no-such-host.invalid", "The name cannot be resolved"), ("192.0.2.1", "does not have")]
)
def test_an_address_that_is_not_of_this_machine_is_answered_with_the_option_that_names_it(
    words: list[str], options: str, host: str, reason: str, tmp_path: Path
) -> None:
    ended = run_here("--sandbox", *words, "--port", "0", "--host", host, NANO_BANANA_STATE_DIR=str(tmp_path))
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert f"cannot listen on {host}" in line
    assert reason in line
    assert line.endswith(f"choose another with {options}.")
    assert "Errno" not in line


@pytest.mark.parametrize("port", ["99999", "-1", "http"])
@pytest.mark.parametrize("words", [["serve", "--http"], ["sandbox"], ["gallery"]])
def test_an_impossible_port_is_refused_with_the_name_of_the_option(words: list[str], port: str) -> None:
    ended = run_here(*words, f"--port={port}")
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert f"--port: '{port}' is not a port. Choose a number from 0 to 65535" in line
    assert "NANO_BANANA_PORT" not in line


@pytest.mark.parametrize("words", [[], ["--sandbox"], ["--sandbox", "history", "--json"], ["token", "list"], ["serve"]])
def test_the_parser_of_one_command_reads_as_the_whole_parser(words: list[str]) -> None:
    one, whole = cli.build_parser(cli._command_in(words)).parse_args(words), cli.build_parser().parse_args(words)
    assert vars(one) == vars(whole)


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["help"], ["--sandbox", "-h"]])
def test_the_version_and_the_overview_import_no_command_and_no_sdk(words: list[str]) -> None:
    code = (
        "import atexit, sys; from nano_banana_mcp.cli import main; "
        "atexit.register(lambda: print(sorted({'mcp', 'httpx', 'rich', 'nano_banana_mcp.app'} & set(sys.modules)))); "
        f"main({words})"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], env=clean_environment(), text=True)
    assert printed.endswith("\n[]\n")


@pytest.mark.parametrize("setting", ["NANO_BANANA_CREDITS_PER_DAY", "NANO_BANANA_TOTAL_CREDITS_PER_DAY"])
def test_a_person_who_reaches_a_budget_is_advised_to_raise_the_setting_of_it(setting: str, tmp_path: Path) -> None:
    settings = {"NANO_BANANA_STATE_DIR": str(tmp_path), setting: "0.1"}
    ended = run_here("--sandbox", "generate", "a cat", "--output", tmp_path / "out", settings=settings)
    assert ended.returncode == 1
    assert f"Raise it with {setting}." in ended.stderr
    assert "operator" not in ended.stderr


def test_a_retry_prints_no_log_line_of_a_library(tmp_path: Path) -> None:
    settings = {"NANO_BANANA_STATE_DIR": str(tmp_path), "NANO_BANANA_SANDBOX_SECONDS": "0"}
    prompt = "a cat sandbox:submit=503*1"
    ended = run_process("--sandbox", "generate", prompt, "--output", str(tmp_path / "out"), settings=settings)
    assert ended.returncode == 0, ended.stderr
    assert {line.split()[0] for line in ended.stderr.splitlines()} == {"picture"}


INTERRUPTED_IMPORT = """
import os, signal, sys

class InterruptingFinder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
from nano_banana_mcp.__main__ import main
sys.meta_path.insert(0, InterruptingFinder())
sys.argv = ["nano-banana-mcp", "history"]
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    "module",
    [
        "nano_banana_mcp.stdio.session",
        "nano_banana_mcp.cli",
        "pydantic",
        "nano_banana_mcp.commands.history",
        "rich.table",
        "sqlite3",
    ],
)
def test_ctrl_c_during_the_imports_ends_a_command_silently(module: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT.format(module=module)],
        env={**clean_environment(), "NANO_BANANA_STATE_DIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_every_command_has_a_module() -> None:
    shown = run_here("--help").stdout
    for name in cli.COMMANDS:
        assert f"\n  {name} " in shown
        explained = run_here(name, "--help")
        assert explained.returncode == 0
        assert cli.COMMANDS[name].summary in explained.stdout.replace("\n", " ")
        assert f"example:\n  nano-banana-mcp {name}" in explained.stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_example_of_each_command_is_a_command_line_that_it_takes(name: str) -> None:
    cli.build_parser(name).parse_args([name, *shlex.split(cli.COMMANDS[name].example)])


def test_the_help_fits_a_screen_of_24_lines_and_80_columns() -> None:
    lines = run_here("--help").stdout.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    assert run_here("help").stdout == run_here("--help").stdout
    assert run_here("help", "save").stdout == run_here("save", "--help").stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_help_of_a_command_fits_a_screen_of_30_lines_and_80_columns(name: str) -> None:
    lines = run_here(name, "--help", COLUMNS="80").stdout.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (["histroy"], "history"),
        (["generat", "a cat"], "generate"),
        (["--sandbox", "doctr"], "doctor"),
        (["history", "--statsu", "success"], "--status"),
        (["history", "--status", "sucess"], "success"),
        (["generate", "a cat", "--apect-ratio", "1:1"], "--aspect-ratio"),
        (["install", "claud-desktop"], "claude-desktop"),
        (["token", "creat", "alice"], "create"),
        (["completion", "zhs"], "zsh"),
    ],
)
def test_a_misspelt_word_is_refused_in_one_line_with_a_suggestion(words: list[str], suggestion: str) -> None:
    ended = run_here(*words)
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert f"Did you mean {suggestion}?" in line


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if name not in ("key", "token")])
def test_an_unknown_option_of_a_command_is_refused_with_the_help_of_that_command(name: str) -> None:
    ended = run_here(name, *shlex.split(cli.COMMANDS[name].example), "--no-such-option", "y")
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"nano-banana-mcp {name}: --no-such-option is not an argument here.")
    assert f"`nano-banana-mcp {name} --help`" in line


def test_an_unknown_option_of_an_action_is_refused_with_the_help_of_that_action() -> None:
    assert "`nano-banana-mcp token create --help`" in run_here("token", "create", "alice", "--modle").stderr
    assert "`nano-banana-mcp key set --help`" in run_here("key", "set", "--modle").stderr


def test_an_unknown_option_before_the_command_is_refused_with_the_overview() -> None:
    ended = run_here("--modle", "generate", "a cat")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "`nano-banana-mcp --help` lists them." in ended.stderr


@pytest.mark.parametrize(
    ("command", "actions"), [("key", ["set", "remove", "show"]), ("token", ["create", "list", "revoke", "key"])]
)
def test_a_command_of_actions_names_them_without_one_and_explains_them_in_its_help(
    command: str, actions: list[str]
) -> None:
    bare = run_here(command)
    assert bare.returncode == 2
    assert f"name an action: {', '.join(actions)}." in bare.stderr
    shown = run_here(command, "--help").stdout
    for action in actions:
        assert re.search(rf"^ +{action}  +\w+ .*\w", shown, re.MULTILINE), action


@pytest.mark.parametrize("option", [["--port", "8000"], ["--host", "::"], ["--allow-unauthenticated"]])
def test_options_for_http_are_refused_over_stdio(option: list[str]) -> None:
    ended = run_here("serve", *option)
    assert ended.returncode == 2
    assert f"{option[0]} needs --http" in ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="homes of POSIX")
def test_without_a_home_folder_one_line_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    ended = run_here("install", "cursor", "--yes")
    assert ended.returncode == 1
    assert ended.stderr == "nano-banana-mcp install: this user has no home folder: set HOME\n"


@pytest.mark.skipif(sys.platform == "win32", reason="homes of POSIX")
@pytest.mark.parametrize("command", ["history", "doctor", "gallery"])
def test_without_a_home_folder_a_command_prints_one_line_that_names_the_setting(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = run_without_home(monkeypatch, command, "--sandbox")
    assert ended.returncode == 1
    [line] = [line for line in (ended.stdout + ended.stderr).splitlines() if "NANO_BANANA_STATE_DIR" in line]
    assert "no home folder" in line
    assert "Traceback" not in ended.stdout + ended.stderr


def run_without_home(monkeypatch: pytest.MonkeyPatch, *words: str) -> Ended:
    """As for a user that the system does not know, as in many containers."""
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    return run_here(*words)
