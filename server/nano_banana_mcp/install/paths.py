"""Where each host keeps its configuration, on Linux, macOS and Windows, as its documents or its source say; and how it
should start this very installation: in a way that works from any folder and with a bare ``PATH``."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """What decides about places."""

    system: str
    """As ``sys.platform``: linux, darwin, win32."""
    environment: Mapping[str, str]
    home: Path
    folder: Path
    """The working directory."""

    @classmethod
    def here(cls) -> Machine:
        """This one."""
        return cls(sys.platform, os.environ, Path.home(), Path.cwd())

    def named(self, variable: str) -> Path | None:
        """The absolute path in an environment variable."""
        value = self.environment.get(variable)
        path = type(self.home)(value) if value else None
        return path if path is not None and path.is_absolute() else None

    @property
    def xdg(self) -> Path:
        """``XDG_CONFIG_HOME``."""
        return self.named("XDG_CONFIG_HOME") or self.home / ".config"

    @property
    def applications(self) -> Path:
        """Where desktop applications keep their data, each in a folder of its name."""
        if self.system == "darwin":
            return self.home / "Library" / "Application Support"
        if self.system == "win32":
            return self.named("APPDATA") or self.home / "AppData" / "Roaming"
        return self.xdg


def claude_desktop(machine: Machine) -> Path:
    """``claude_desktop_config.json``; on Windows that of the packaged application (MSIX), where there is one."""
    folder = machine.applications / "Claude"
    if machine.system == "win32":
        packages = (machine.named("LOCALAPPDATA") or machine.home / "AppData" / "Local") / "Packages"
        packaged = [package / "LocalCache" / "Roaming" / "Claude" for package in sorted(packages.glob("Claude_*"))]
        folder = next((place for place in packaged if place.is_dir()), packaged[0] if packaged else folder)
    return folder / "claude_desktop_config.json"


def claude_code(machine: Machine) -> Path:
    """``.claude.json``, with the servers of the user's scope."""
    return (machine.named("CLAUDE_CONFIG_DIR") or machine.home) / ".claude.json"


def cursor(machine: Machine) -> Path:
    """``mcp.json`` for all projects."""
    return machine.home / ".cursor" / "mcp.json"


def vs_code(machine: Machine) -> Path:
    """``mcp.json`` of the default profile."""
    portable = machine.named("VSCODE_PORTABLE")
    data = portable / "user-data" if portable else (machine.named("VSCODE_APPDATA") or machine.applications) / "Code"
    return data / "User" / "mcp.json"


def windsurf(machine: Machine) -> Path:
    """``mcp_config.json``."""
    return machine.home / ".codeium" / "windsurf" / "mcp_config.json"


def codex(machine: Machine) -> Path:
    """``config.toml``."""
    return (machine.named("CODEX_HOME") or machine.home / ".codex") / "config.toml"


def gemini(machine: Machine) -> Path:
    """``settings.json`` of the user."""
    return (machine.named("GEMINI_CLI_HOME") or machine.home) / ".gemini" / "settings.json"


def goose(machine: Machine) -> Path:
    """``config.yaml``; macOS has it where Linux has."""
    root = machine.named("GOOSE_PATH_ROOT")
    if root:
        return root / "config" / "config.yaml"
    if machine.system == "win32":
        return machine.applications / "Block" / "goose" / "config" / "config.yaml"
    return machine.xdg / "goose" / "config.yaml"


def zed(machine: Machine) -> Path:
    """``settings.json``."""
    if machine.system == "win32":
        return machine.applications / "Zed" / "settings.json"
    if machine.system == "darwin":
        return machine.home / ".config" / "zed" / "settings.json"
    return (machine.named("FLATPAK_XDG_CONFIG_HOME") or machine.xdg) / "zed" / "settings.json"


def librechat(machine: Machine) -> Path:
    """``librechat.yaml``: it has no place of its own, so the working directory, or what ``CONFIG_PATH`` says."""
    return machine.named("CONFIG_PATH") or machine.folder / "librechat.yaml"


PROGRAM = "nano-banana-mcp"


def command() -> list[str]:
    """The absolute command of the running installation, or ``uvx`` where it runs from uv's cache."""
    if _runs_from_uv_cache(Path(sys.prefix)):
        return [_uvx(), *_source(), PROGRAM]
    script = Path(sys.argv[0]).absolute() if sys.argv and sys.argv[0] else None
    if script is not None and script.name.startswith(PROGRAM):
        for candidate in (script, script.with_name(f"{script.name}.exe")):  # Windows' launchers leave it out
            if candidate.is_file():
                return [str(candidate)]
    found = shutil.which(PROGRAM)
    if found:
        return [str(Path(found).absolute())]
    return [sys.executable, "-P", "-m", "nano_banana_mcp"]


def is_ours(entry: object) -> bool:
    """Whether an entry of a host's configuration starts this program."""
    if not isinstance(entry, dict):
        return False
    words = [entry.get("command"), entry.get("cmd"), *_listed(entry.get("args"))]
    if isinstance(entry.get("command"), dict):  # an older form of Zed's
        words = [entry["command"].get("path"), *_listed(entry["command"].get("args"))]
    names = [str(word).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] for word in words if isinstance(word, str)]
    return any(name.removesuffix(".exe").split("@")[0] in (PROGRAM, "nano_banana_mcp") for name in names)


def exists(program: str) -> bool:
    """Whether a host would find this program."""
    return shutil.which(program) is not None


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _runs_from_uv_cache(prefix: Path) -> bool:
    # `uvx` and `uv tool run` make environments under these folders of the cache, and clean them away some day.
    return any(part.startswith(("archive-v", "environments-v")) for part in prefix.parts)


def _uvx() -> str:
    uv = os.environ.get("UV")  # uv names itself to what it runs
    beside = Path(uv).with_name("uvx.exe" if uv.lower().endswith(".exe") else "uvx") if uv else None
    if beside is not None and beside.is_file():
        return str(beside)
    return shutil.which("uvx") or "uvx"


def _source() -> list[str]:
    """What uvx must be told where the package is not from an index (PEP 610)."""
    text = metadata.distribution(PROGRAM).read_text("direct_url.json")
    if not text:
        return []
    origin = json.loads(text)
    url = str(origin["url"])
    if "vcs_info" in origin:
        revision = origin["vcs_info"].get("requested_revision")
        url = f"{origin['vcs_info']['vcs']}+{url}{f'@{revision}' if revision else ''}"
    return ["--from", url]
