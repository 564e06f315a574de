"""The accessibility audit (axe-core), by npm, in a folder that git ignores. No install script of a package is run."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests.support.in_turn import in_turn

VERSION = "4.14.1"

# A folder of its own: npm removes from a folder whatever it was not told of.
FOLDER = Path(__file__).parent.parent.parent / ".node" / "axe"
_INSTALL_SECONDS = 120


class NoAxeError(Exception):
    """It cannot be had here. The text says why, in one line."""


def obtain() -> str:
    """The source of axe-core, installed first where it is missing.

    Raises:
        NoAxeError: there is no npm, or it cannot install.
    """
    package = FOLDER / "node_modules" / "axe-core"
    with in_turn("axe"):
        try:
            version = json.loads((package / "package.json").read_text("utf-8"))["version"]
        except (OSError, ValueError, KeyError):
            version = None
        if version != VERSION:
            _install()
    return (package / "axe.min.js").read_text(encoding="utf-8")


def _install() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NoAxeError("there is no npm")
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    flags = ["--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=2"]
    try:
        ended = subprocess.run(
            [npm, "install", *flags, f"axe-core@{VERSION}"],
            cwd=FOLDER,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoAxeError(f"npm did not install it within {_INSTALL_SECONDS} s") from None
    if ended.returncode != 0:
        said = [line for line in ended.stderr.splitlines() if line.startswith("npm error")]
        raise NoAxeError(f"npm cannot install it: {' '.join(said[:2])[:200]}")
