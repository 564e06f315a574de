"""The paths of the configurations of hosts, on every system."""

from __future__ import annotations

from pathlib import Path

import pytest

from nano_banana_mcp.install.hosts import HOSTS
from nano_banana_mcp.install.paths import Machine

HOME = Path("/home/me")
SUPPORT = "Library/Application Support"
PLACES = {
    "claude-desktop": (".config/Claude/*", f"{SUPPORT}/Claude/*", "AppData/Roaming/Claude/*"),
    "claude-code": (".claude.json",) * 3,
    "cursor": (".cursor/mcp.json",) * 3,
    "vscode": (".config/Code/User/*", f"{SUPPORT}/Code/User/*", "AppData/Roaming/Code/User/*"),
    "windsurf": (".codeium/windsurf/mcp_config.json",) * 3,
    "codex": (".codex/config.toml",) * 3,
    "gemini": (".gemini/settings.json",) * 3,
    "goose": (".config/goose/*", ".config/goose/*", "AppData/Roaming/Block/goose/config/*"),
    "zed": (".config/zed/*", ".config/zed/*", "AppData/Roaming/Zed/*"),
    "librechat": ("work/librechat.yaml",) * 3,
}
NAMES = {"claude-desktop": "claude_desktop_config.json", "vscode": "mcp.json", "goose": "config.yaml"}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("number", "system"), [(0, "linux"), (1, "darwin"), (2, "win32")])
def test_each_host_is_found_at_its_place(host: str, number: int, system: str) -> None:
    expected = PLACES[host][number].replace("*", NAMES.get(host, "settings.json"))
    assert HOSTS[host].config_path(Machine(system, {}, HOME, HOME / "work")) == HOME / expected


@pytest.mark.parametrize(
    ("host", "system", "variable", "expected"),
    [
        ("claude-desktop", "linux", "XDG_CONFIG_HOME", "/x/Claude/claude_desktop_config.json"),
        ("claude-desktop", "win32", "APPDATA", "/x/Claude/claude_desktop_config.json"),
        ("claude-code", "linux", "CLAUDE_CONFIG_DIR", "/x/.claude.json"),
        ("vscode", "linux", "XDG_CONFIG_HOME", "/x/Code/User/mcp.json"),
        ("vscode", "darwin", "VSCODE_PORTABLE", "/x/user-data/User/mcp.json"),
        ("vscode", "win32", "VSCODE_APPDATA", "/x/Code/User/mcp.json"),
        ("codex", "win32", "CODEX_HOME", "/x/config.toml"),
        ("gemini", "darwin", "GEMINI_CLI_HOME", "/x/.gemini/settings.json"),
        ("goose", "darwin", "XDG_CONFIG_HOME", "/x/goose/config.yaml"),
        ("goose", "win32", "GOOSE_PATH_ROOT", "/x/config/config.yaml"),
        ("zed", "linux", "FLATPAK_XDG_CONFIG_HOME", "/x/zed/settings.json"),
        ("zed", "win32", "APPDATA", "/x/Zed/settings.json"),
        ("librechat", "linux", "CONFIG_PATH", "/x"),
    ],
)
def test_the_variables_that_hosts_read_change_the_path(host: str, system: str, variable: str, expected: str) -> None:
    assert HOSTS[host].config_path(Machine(system, {variable: "/x"}, HOME, HOME)) == Path(expected)
    assert HOSTS[host].config_path(Machine(system, {variable: "relative"}, HOME, HOME)).is_relative_to(HOME)


def test_the_packaged_claude_of_windows_has_its_own_place(tmp_path: Path) -> None:
    packaged = tmp_path / "AppData/Local/Packages/Claude_abc/LocalCache/Roaming/Claude"
    packaged.mkdir(parents=True)
    place = HOSTS["claude-desktop"].config_path(Machine("win32", {}, tmp_path, tmp_path))
    assert place == packaged / "claude_desktop_config.json"
