"""Where each host keeps its configuration on Linux, macOS and Windows, as its documentation or source says."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nano_banana_mcp.install.errors import Refused


@dataclass(frozen=True)
class Machine:
    """The facts that decide where configurations are."""

    system: str
    """As ``sys.platform``: linux, darwin, win32."""
    environment: Mapping[str, str]
    home: Path
    folder: Path
    """The working directory."""

    @classmethod
    def here(cls) -> Machine:
        """The machine that this process runs on.

        Raises:
            Refused: The user has no home folder.
        """
        try:
            return cls(sys.platform, os.environ, Path.home(), Path.cwd())
        except RuntimeError:
            raise Refused("this user has no home folder: set HOME") from None

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
        folder = next((path for path in packaged if path.is_dir()), packaged[0] if packaged else folder)
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
    """``config.yaml``; on macOS in the same folder as on Linux."""
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
    """``librechat.yaml``: in the working directory, or where ``CONFIG_PATH`` says."""
    return machine.named("CONFIG_PATH") or machine.folder / "librechat.yaml"
