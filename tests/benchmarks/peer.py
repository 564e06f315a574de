"""FastMCP in an environment of its own, which git ignores: its packages are not to change what ours starts with.

Of the packages that both have, ``fastmcp_pins.txt`` names the versions that ``constraints.txt`` names.
"""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

from tests.support.in_turn import in_turn

PINS = Path(__file__).with_name("fastmcp_pins.txt")
SERVER = Path(__file__).with_name("fastmcp_server.py")

_FOLDER = Path(__file__).parent.parent.parent / ".bench" / "fastmcp"
_INSTALL_SECONDS = 300


class NoFastMCPError(Exception):
    """It cannot be had here. The text says why, in one line."""


def obtain() -> list[str]:
    """The command of an echo server, installed first where it is missing or of other versions.

    Raises:
        NoFastMCPError: pip cannot install it.
    """
    python = _FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    installed = _FOLDER / PINS.name
    with in_turn("fastmcp"):
        if not installed.exists() or installed.read_bytes() != PINS.read_bytes():
            _install(python)
            installed.write_bytes(PINS.read_bytes())
    return [str(python), "-P", str(SERVER)]


def _install(python: Path) -> None:
    venv.create(_FOLDER, clear=True, with_pip=True)
    command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(PINS)]
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise NoFastMCPError(f"pip did not install FastMCP within {_INSTALL_SECONDS} s") from None
    if ended.returncode != 0:
        said = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")]
        raise NoFastMCPError(f"pip cannot install FastMCP: {' '.join(said)[:200]}")


if __name__ == "__main__":
    print(*obtain())
