"""The decisions of `install`: the key, an existing entry of that name, a remote server, the list."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from nano_banana_mcp.install.hosts import HOSTS
from nano_banana_mcp.install.launch import command, is_ours, launch_of
from tests.support.clients import KEY
from tests.support.install_files import Run, listing, parsed


def _servers(file: Path) -> dict[str, dict[str, object]]:
    servers: dict[str, dict[str, object]] = next(iter(json.loads(file.read_text()).values()))
    return servers


def test_a_dry_run_shows_the_change_without_the_key_and_writes_nothing(run: Run, home: Path) -> None:
    code, said = run("install", "cursor", "--dry-run", "--store-key")
    assert code == 0
    assert '+    "nano-banana": {' in said
    assert "••••••" in said
    assert KEY not in said
    assert listing(home) == {}


def test_without_a_terminal_only_yes_writes(run: Run, home: Path) -> None:
    code, said = run("install", "cursor")
    assert code == 1
    assert "--yes" in said
    assert listing(home) == {}


@pytest.mark.parametrize("host", HOSTS)
def test_each_host_gets_the_key_in_its_way(host: str, run: Run, home: Path) -> None:
    file = home / "config"
    assert run("install", host, "--config", file, "--yes")[0] == 0
    expected = {
        "claude-code": '"${DEFAPI_API_KEY}"',
        "cursor": '"${env:DEFAPI_API_KEY}"',
        "windsurf": '"${env:DEFAPI_API_KEY}"',
        "vscode": '"${input:defapi-key}"',
        "codex": 'env_vars = ["DEFAPI_API_KEY"]',
        "gemini": '"$DEFAPI_API_KEY"',
        "goose": "env_keys:\n    - DEFAPI_API_KEY",
        "librechat": "DEFAPI_API_KEY: ${DEFAPI_API_KEY}",
    }
    text = file.read_text()
    assert expected.get(host, f'"DEFAPI_API_KEY": "{KEY}"') in text
    assert (KEY in text) == (host not in expected)


@pytest.mark.parametrize("host", HOSTS)
def test_the_key_is_kept_in_the_file_where_that_is_wanted_and_left_out_where_not(
    host: str, run: Run, home: Path
) -> None:
    file = home / "config"
    _, said = run("install", host, "--config", file, "--yes", "--store-key")
    assert file.read_text().count(KEY) == 1
    assert KEY not in said
    code, said = run("install", host, "--config", file, "--yes", "--no-key")
    assert code == 0
    assert KEY not in file.read_text() + said
    assert "DEFAPI" not in file.read_text()


def test_without_a_key_and_a_terminal_it_is_refused(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEFAPI_API_KEY")
    code, said = run("install", "cursor", "--yes")
    assert code == 1
    assert "--no-key" in said
    code, said = run("--sandbox", "install", "cursor", "--yes")
    assert code == 0
    assert _servers(home / ".cursor" / "mcp.json")["nano-banana"]["args"] == [*command()[1:], "--sandbox"]


def test_a_placeholder_is_not_stored_as_a_key(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFAPI_API_KEY", "${user_config.key}")
    code, said = run("install", "cursor", "--yes")
    assert code == 1
    assert "placeholder" in said
    assert listing(home) == {}


@pytest.mark.slow
def test_settings_of_a_file_are_read_from_it_and_not_copied(run: Run, home: Path) -> None:
    (home / "my.env").write_text(f"DEFAPI_API_KEY={KEY}\n")
    assert run("--env-file", home / "my.env", "install", "cursor", "--yes")[0] == 0
    entry = _servers(home / ".cursor" / "mcp.json")["nano-banana"]
    assert entry["args"] == [*command()[1:], "--env-file", str(home / "my.env")]
    assert "env" not in entry


def test_our_own_entry_is_renewed_and_keeps_what_the_user_added(run: Run, home: Path) -> None:
    file = home / "config"
    file.write_text(
        '{"mcpServers": {"a": {}, "nano-banana": {"command": "/gone/nano-banana-mcp", "args": ["--old"], "timeout": 9,'
        ' "env": {"NANO_BANANA_OUTPUT_DIR": "/pictures", "DEFAPI_API_KEY": "dk-older-key"}, "trust": true}, "z": {}}}'
    )
    code, said = run("install", "gemini", "--config", file, "--yes")
    assert code == 0
    assert "dk-older-key" not in said
    assert list(_servers(file)) == ["a", "nano-banana", "z"]
    assert _servers(file)["nano-banana"] == {
        "command": command()[0],
        "args": command()[1:],
        "timeout": 9,
        "env": {"NANO_BANANA_OUTPUT_DIR": "/pictures", "DEFAPI_API_KEY": "$DEFAPI_API_KEY"},
        "trust": True,
    }


def test_the_key_that_is_there_stays_where_no_other_is_given(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home / "config"
    run("install", "cursor", "--config", file, "--yes", "--store-key")
    file.write_text(file.read_text().replace(command()[0], "/gone/nano-banana-mcp"))
    monkeypatch.delenv("DEFAPI_API_KEY")
    assert run("install", "cursor", "--config", file, "--yes")[0] == 0
    assert _servers(file)["nano-banana"]["env"] == {"DEFAPI_API_KEY": KEY}


@pytest.mark.parametrize("host", ["cursor", "codex", "goose"])
def test_another_programs_entry_of_that_name_is_left_alone_unless_forced(host: str, run: Run, home: Path) -> None:
    texts = {
        "cursor": '{"mcpServers": {"nano-banana": {"command": "npx", "args": ["-y", "nano-banana-mcp"]}}}',
        "codex": '[mcp_servers.nano-banana]\ncommand = "npx"\nargs = ["other"]\n',
        "goose": "extensions:\n  nano-banana:\n    cmd: npx\n    enabled: true\n",
    }
    file = home / "config"
    file.write_text(texts[host])
    for verb in ("install", "uninstall"):
        code, said = run(verb, host, "--config", file, "--yes")
        assert code == 1
        assert "--force" in said
        assert file.read_text() == texts[host]
    assert run("install", host, "--config", file, "--yes", "--name", "pictures")[0] == 0
    assert run("uninstall", host, "--config", file, "--yes", "--name", "pictures")[0] == 0
    assert file.read_text() == texts[host]
    assert run("install", host, "--config", file, "--yes", "--force")[0] == 0
    assert "npx" not in file.read_text()


@pytest.mark.parametrize("host", ["claude-desktop", "vscode", "codex", "librechat"])
def test_a_host_that_is_not_present_is_refused_first_and_only_force_writes(host: str, run: Run, home: Path) -> None:
    code, said = run("install", host, "--yes")
    assert code == 1
    assert "was not found on this machine" in said.splitlines()[0]
    assert listing(home) == {}
    assert run("install", host, "--yes", "--force")[0] == 0
    assert len(listing(home)) == 1


def test_vs_code_is_asked_once_for_two_entries_and_the_input_goes_with_the_last(run: Run, home: Path) -> None:
    file = home / "config"
    file.write_text('{\n  "inputs": [\n    {"id": "other"} // mine\n  ]\n}\n')
    before = file.read_text()
    run("install", "vscode", "--config", file, "--yes")
    run("install", "vscode", "--config", file, "--yes", "--name", "second")
    assert file.read_text().count('"defapi-key"') == 1
    run("uninstall", "vscode", "--config", file, "--yes")
    assert file.read_text().count('"defapi-key"') == 1
    run("uninstall", "vscode", "--config", file, "--yes", "--name", "second")
    assert file.read_text() == before


@pytest.mark.parametrize("host", [host for host in HOSTS if host != "claude-desktop"])
def test_a_remote_server_is_an_entry_with_its_address_and_a_token(
    host: str, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, url = home / "config", "https://pictures.example.org/mcp"
    monkeypatch.setenv("NANO_BANANA_TOKEN", "nbt-canary-0123456789")
    code, said = run("install", host, "--config", file, "--yes", "--url", url)
    assert code == 0, said
    assert "nbt-canary" not in said
    text = file.read_text()
    assert url in text
    assert KEY not in text
    assert "NANO_BANANA_TOKEN" in text or "nbt-canary" in text or "${input:nano-banana-token}" in text
    assert run("uninstall", host, "--config", file, "--yes")[0] == 1, "it may be another program's"
    assert run("uninstall", host, "--config", file, "--yes", "--url", url)[0] == 0
    assert not file.exists()


@pytest.mark.parametrize("url", ["", "not an address", "ftp://example.org/mcp", "https:///mcp", "http://[::1"])
def test_an_invalid_address_is_an_error_of_usage(url: str, run: Run, home: Path) -> None:
    code, said = run("install", "cursor", "--yes", "--url", url)
    assert (code, "https://" in said) == (2, True)
    assert listing(home) == {}


def test_a_remote_server_needs_a_token_even_if_the_local_one_had_a_key(run: Run, home: Path) -> None:
    assert run("install", "zed", "--config", home / "config", "--yes")[0] == 0
    code, said = run("install", "zed", "--config", home / "config", "--yes", "--url", "https://mcp.example.org/mcp")
    assert code == 1
    assert "NANO_BANANA_TOKEN" in said


def test_a_new_file_of_librechat_holds_the_version_without_which_it_does_not_start(run: Run, home: Path) -> None:
    file = home / "librechat.yaml"
    code, said = run("install", "librechat", "--config", file, "--yes")
    assert code == 0
    assert "its own folder" in said
    assert list(YAML(typ="safe").load(file.read_text())) == ["version", "mcpServers"]
    assert run("uninstall", "librechat", "--config", file, "--yes")[0] == 0
    assert not file.exists()


OURS_WITH_COMMENTS = {
    "gemini": """{
  "mcpServers": {
    "nano-banana": {
      // where it is
      "command": "/gone/nano-banana-mcp", // moved
      "trust": true, /* mine */
      "env": {
        // where pictures go
        "NANO_BANANA_OUTPUT_DIR": "/pictures"
      }
    } // the end
  }
}
""",
    "codex": """[mcp_servers.nano-banana]
# where it is
command = "/gone/nano-banana-mcp"   # moved
since = 1979-05-27 # mine

[mcp_servers.nano-banana.env]
# where pictures go
NANO_BANANA_OUTPUT_DIR = "/pictures"

# the end
[other]
a = 1
""",
    "goose": """extensions:
  nano-banana:
    # where it is
    cmd: /gone/nano-banana-mcp   # moved
    since: 1979-05-27 # mine
    # where pictures go
    envs: {NANO_BANANA_OUTPUT_DIR: /pictures}
  # the end
  other: {cmd: y}
""",
}


@pytest.mark.parametrize("host", OURS_WITH_COMMENTS)
def test_comments_within_our_own_entry_are_kept_when_it_is_renewed(host: str, run: Run, home: Path) -> None:
    file = home / "config"
    file.write_text(OURS_WITH_COMMENTS[host])
    code, said = run("install", host, "--config", file, "--yes")
    assert code == 0, said
    after = file.read_text()
    for words in ("where it is", "moved", "mine", "where pictures go", "/pictures", "the end"):
        assert words in after, after
    entry = parsed(HOSTS[host].form, file.read_bytes())[HOSTS[host].table]["nano-banana"]
    assert (entry.get("command") or entry["cmd"]) == command()[0]
    assert entry["args"] == command()[1:]
    assert "DEFAPI_API_KEY" in after
    assert run("install", host, "--config", file, "--yes")[0] == 0
    assert file.read_text() == after


def test_a_host_without_remote_servers_in_its_configuration_is_refused_with_advice(run: Run, home: Path) -> None:
    code, said = run("install", "claude-desktop", "--yes", "--url", "https://pictures.example.org/mcp")
    assert code == 1
    assert "Connectors" in said
    assert listing(home) == {}


def test_calls_may_last_as_long_as_a_wait_where_the_host_has_a_setting(run: Run, home: Path) -> None:
    for host in ("codex", "goose", "librechat", "gemini", "zed"):
        run("install", host, "--config", home / host, "--yes")
    assert tomllib.loads((home / "codex").read_text())["mcp_servers"]["nano-banana"]["tool_timeout_sec"] == 300
    assert YAML(typ="safe").load((home / "goose").read_text())["extensions"]["nano-banana"]["timeout"] == 300
    assert YAML(typ="safe").load((home / "librechat").read_text())["mcpServers"]["nano-banana"]["timeout"] == 300_000
    assert _servers(home / "gemini")["nano-banana"]["timeout"] == 300_000
    assert _servers(home / "zed")["nano-banana"]["timeout"] == 300


def test_the_list_shows_hosts_that_are_installed_set_up_missing_and_broken(run: Run, home: Path) -> None:
    (home / ".codex").mkdir()
    run("install", "cursor", "--yes")
    (home / ".codeium" / "windsurf").mkdir(parents=True)
    (home / ".codeium" / "windsurf" / "mcp_config.json").write_text('{\n "a" 1}')
    gone = {"mcpServers": {"pics": {"command": "/gone/nano-banana-mcp"}}}
    (home / ".gemini" / "settings.json").write_text(json.dumps(gone))
    code, said = run("install", "--list")
    assert code == 0
    for words in (
        "codex           found ",
        "cursor          set up",
        "windsurf        unreadable",
        "line 2, column 6",
        "gemini          set up",
        "“pics” starts /gone/nano-banana-mcp; this program no longer exists",
        "zed             not found",
    ):
        assert words in said, said
    assert KEY not in said


def test_the_list_as_json_has_every_host_with_its_entries(run: Run, home: Path) -> None:
    run("install", "cursor", "--yes")
    (home / ".codex").mkdir()
    (home / ".codex" / "config.toml").write_text("[")
    _, said = run("install", "--list", "--json")
    by_host = {item["host"]: item for item in json.loads(said)}
    assert list(by_host) == list(HOSTS)
    assert by_host["cursor"]["state"] == "set up"
    assert by_host["cursor"]["path"] == str(home / ".cursor" / "mcp.json")
    assert by_host["cursor"]["entries"] == [{"name": "nano-banana", "program": command()[0], "exists": True}]
    assert by_host["codex"]["state"] == "unreadable"
    assert "line 1" in by_host["codex"]["problem"]
    assert by_host["gemini"] == {
        "host": "gemini",
        "title": "Gemini CLI",
        "state": "found",
        "path": str(home / ".gemini" / "settings.json"),
        "problem": None,
        "entries": [],
    }
    assert by_host["zed"]["state"] == "not found"
    assert run("install", "cursor", "--json")[0] == 2


def test_a_missing_host_a_bad_name_and_an_unknown_host_are_errors_of_usage(run: Run, home: Path) -> None:
    assert run("install")[0] == 2
    assert run("install", "cursor", "--name", "a b")[0] == 2
    assert run("install", "emacs")[0] == 2
    assert run("install", "gemini-cli", "--yes")[0] == 0
    assert (home / ".gemini" / "settings.json").exists()


@pytest.mark.parametrize(
    ("entry", "ours"),
    [
        ({"command": "/a/bin/nano-banana-mcp"}, True),
        ({"command": "C:\\a\\nano-banana-mcp.exe", "args": []}, True),
        ({"command": "uvx", "args": ["--from", "x", "nano-banana-mcp@0.2"]}, True),
        ({"command": "/a/python", "args": ["-P", "-m", "nano_banana_mcp"]}, True),
        ({"cmd": "nano-banana-mcp"}, True),
        ({"command": {"path": "nano-banana-mcp", "args": []}}, True),
        ({"command": "npx", "args": ["nanobanana-mcp-server"]}, False),
        ({"command": "npx", "args": "nano-banana-mcp"}, False),
        ({"command": "npx", "args": ["-y", "nano-banana-mcp"]}, False),
        ({"command": "/usr/bin/node", "args": ["/x/node_modules/nano-banana-mcp"]}, False),
        ({"command": "bunx", "args": ["nano-banana-mcp@latest"]}, False),
        ({"command": "docker", "args": ["run", "nano-banana-mcp"]}, False),
        ({"command": "pipx", "args": ["run", "nano-banana-mcp"]}, True),
        ({"url": "https://example.org/mcp"}, False),
        ("nano-banana-mcp", False),
    ],
)
def test_an_entry_is_recognised_by_its_command(entry: object, ours: bool) -> None:
    assert is_ours(entry) == ours


def test_from_uvs_cache_the_entry_starts_uvx_by_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uvx = tmp_path / "uvx"
    uvx.write_text("")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "cache" / "uv" / "archive-v0" / "abc"))
    monkeypatch.setenv("UV", str(tmp_path / "uv"))
    assert command()[0] == str(uvx)
    assert command()[-1] == "nano-banana-mcp"


@pytest.mark.parametrize(
    ("entry", "environment"),
    [
        ({"command": "p", "env": {"A": "$B", "C": "${B}${env:B}${X:-d}$X"}}, {"A": "b", "C": "bbd$X"}),
        ({"cmd": "p", "envs": {"A": "1"}, "env_keys": ["B", "X"]}, {"A": "1", "B": "b"}),
        ({"command": "p", "env_vars": ["B"]}, {"B": "b"}),
        ({"command": {"path": "p", "env": {"A": "x"}}}, {"A": "x"}),
    ],
)
def test_an_entry_is_started_with_the_variables_that_it_refers_to(
    entry: dict[str, object], environment: dict[str, str]
) -> None:
    launch = launch_of(entry, {"B": "b"})
    assert launch is not None
    assert launch.program == "p"
    assert launch.environment == environment


def test_a_host_that_fills_in_nothing_passes_the_value_as_it_is() -> None:
    launch = launch_of({"command": "p", "env": {"A": "${B}"}})
    assert launch is not None
    assert launch.environment == {"A": "${B}"}
