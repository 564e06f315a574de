"""Where the clients live: a virtual environment for each that needs one of its own, and a folder of npm's."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from tests.support import npm
from tests.support.in_turn import in_turn
from tests.support.npm import NotToBeHadError

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / ".interop"
PINS: dict[str, Any] = tomllib.loads((Path(__file__).parent / "pins.toml").read_text(encoding="utf-8"))

_INSTALL_SECONDS = 300


def python(name: str) -> str:
    """The Python of the environment ``name``, installed first where it is missing or of other versions; "" is this one.

    Raises:
        NotToBeHadError: pip cannot install it.
    """
    if not name:
        return sys.executable
    folder = FOLDER / name
    wanted = [f"{package}=={version}" for package, version in PINS["python"][name].items()]
    constraints = _constraints(set(PINS["python"][name]))
    made_of = "\n".join([*wanted, constraints])
    program = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = folder / "made-of.txt"
    with in_turn(f"interop-{name}"):
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != made_of:
            shutil.rmtree(folder, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(folder)])
            (folder / "constraints.txt").write_text(constraints, encoding="utf-8")
            pip = [str(program), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            _run([*pip, "-c", str(folder / "constraints.txt"), *wanted])
            stamp.write_text(made_of, encoding="utf-8")
    return str(program)


def node() -> tuple[str, str]:
    """A Node, and the folder ``node_modules`` with the clients of npm.

    Raises:
        NotToBeHadError: npm cannot install them.
    """
    return npm.node(), str(npm.packages("interop", PINS["npm"]))


def _constraints(but: set[str]) -> str:
    """This project's, but for the packages of which the environment has versions of its own."""
    mcp = {"mcp-types", "mcp"} if "mcp" in but else set()
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if re.split(r"[=<>; ]", line)[0] not in but | mcp)


def _run(command: list[str]) -> None:
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotToBeHadError(f"pip did not install it within {_INSTALL_SECONDS} s") from None
    if ended.returncode != 0:
        said = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")]
        raise NotToBeHadError(f"pip cannot install it: {' '.join(said[:2])[:200]}")
