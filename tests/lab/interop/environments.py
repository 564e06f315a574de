"""Where the clients live: a virtual environment for each that needs one of its own, and a folder of npm's."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from tests.support import npm
from tests.support.environments import python_with
from tests.support.paths import ROOT

FOLDER = ROOT / ".interop"
PINS: dict[str, Any] = tomllib.loads((Path(__file__).parent / "pins.toml").read_text(encoding="utf-8"))


def python(name: str) -> str:
    """The Python of the environment ``name``, installed first where it is missing or of other versions; "" is this one.

    Raises:
        PackageUnavailableError: pip cannot install it.
    """
    if not name:
        return sys.executable
    pinned = PINS["python"][name]
    wanted = "".join(f"{package}=={version}\n" for package, version in pinned.items())
    return python_with(FOLDER / name, wanted, _constraints(set(pinned)))


def node() -> tuple[str, str]:
    """A Node, and the folder ``node_modules`` with the clients of npm.

    Raises:
        PackageUnavailableError: npm cannot install them.
    """
    return npm.node(), str(npm.packages("interop", PINS["npm"]))


def _constraints(but: set[str]) -> str:
    """This project's, but for the packages of which the environment has versions of its own."""
    mcp = {"mcp-types", "mcp"} if "mcp" in but else set()
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if re.split(r"[=<>; ]", line)[0] not in but | mcp)
