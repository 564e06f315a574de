"""Servers of others that ours is compared to, in folders that git ignores: FastMCP, and two on Node.

FastMCP has an environment of its own: its packages are not to change what ours starts with. Of the packages that both
have, ``fastmcp_pins.txt`` names the versions that ``constraints.txt`` names.
"""

from __future__ import annotations

from pathlib import Path

from tests.support import npm
from tests.support.environments import python_with
from tests.support.paths import ROOT

PINS = Path(__file__).with_name("fastmcp_pins.txt")
SERVER = Path(__file__).with_name("fastmcp_server.py")

NODE_SERVERS = {"@modelcontextprotocol/server-filesystem": "2026.8.31", "mcp-image": "0.14.0"}
"""Servers over stdio on npm, with their versions, that list their tools without a key: the best known one of files, and
one that makes images."""

_FOLDER = ROOT / ".bench" / "fastmcp"


def fastmcp() -> list[str]:
    """The command of an echo server, installed first where it is missing or of other versions.

    Raises:
        PackageUnavailableError: pip cannot install it.
    """
    return [python_with(_FOLDER, PINS.read_text(encoding="utf-8")), "-P", str(SERVER)]


def on_node() -> dict[str, list[str]]:
    """The commands of :data:`NODE_SERVERS` by their names, installed first where one is missing or of another version.

    Raises:
        PackageUnavailableError: npm cannot install them, or there is no Node.
    """
    packages = npm.packages("servers", NODE_SERVERS)
    node = npm.node()
    # The server of files wants a folder that it may read; the other one takes no arguments, and ignores it.
    return {name: [node, str(packages / name / "dist" / "index.js"), str(packages)] for name in NODE_SERVERS}
