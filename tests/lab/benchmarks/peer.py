"""FastMCP in an environment of its own, which git ignores: its packages are not to change what ours starts with.

Of the packages that both have, ``fastmcp_pins.txt`` names the versions that ``constraints.txt`` names.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.environments import python_with
from tests.support.paths import ROOT

PINS = Path(__file__).with_name("fastmcp_pins.txt")
SERVER = Path(__file__).with_name("fastmcp_server.py")

_FOLDER = ROOT / ".bench" / "fastmcp"


def obtain() -> list[str]:
    """The command of an echo server, installed first where it is missing or of other versions.

    Raises:
        NotToBeHadError: pip cannot install it.
    """
    return [python_with(_FOLDER, PINS.read_text(encoding="utf-8")), "-P", str(SERVER)]


if __name__ == "__main__":
    print(*obtain())
