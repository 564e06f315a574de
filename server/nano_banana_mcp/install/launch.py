"""The command by which a host starts this installation from any folder and with a bare ``PATH``."""

from __future__ import annotations

import json
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

PROGRAM = "nano-banana-mcp"
_LAUNCHERS = {"uvx", "uv", "pipx"}
"""Programs that run a Python package by its name."""


def command() -> list[str]:
    """The absolute command of the running installation, or ``uvx`` where it runs from uv's cache."""
    if _runs_from_uv_cache(Path(sys.prefix)):
        return [_uvx(), *_source(), PROGRAM]
    script = Path(sys.argv[0]).absolute() if sys.argv and sys.argv[0] else None
    if script is not None and script.name.startswith(PROGRAM):
        for candidate in (script, script.with_name(f"{script.name}.exe")):  # launchers on Windows leave the suffix out
            if candidate.is_file():
                return [str(candidate)]
    on_path = shutil.which(PROGRAM)
    if on_path:
        return [str(Path(on_path).absolute())]
    return [sys.executable, "-P", "-m", "nano_banana_mcp"]


def is_ours(entry: object) -> bool:
    """Whether an entry of a host's configuration starts this program.

    The name alone is not enough: npm has another project of the same name.
    """
    if not isinstance(entry, dict):
        return False
    launch = entry["command"] if isinstance(entry.get("command"), dict) else entry  # an older form in Zed
    program = launch.get("command") or launch.get("cmd") or launch.get("path")
    if not isinstance(program, str):
        return False
    name = _base_name(program)
    arguments = [word for word in _listed(launch.get("args")) if isinstance(word, str)]
    if name in _LAUNCHERS:
        return any(_base_name(word).split("@")[0] == PROGRAM for word in arguments)
    if name.startswith("python") or name == "py":
        return "nano_banana_mcp" in arguments
    return name == PROGRAM


def _base_name(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].removesuffix(".exe")


def exists(program: str) -> bool:
    """Whether a host would find this program."""
    return shutil.which(program) is not None


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _runs_from_uv_cache(prefix: Path) -> bool:
    # `uvx` and `uv tool run` create environments in these folders of the cache and remove them later.
    return any(part.startswith(("archive-v", "environments-v")) for part in prefix.parts)


def _uvx() -> str:
    uv = os.environ.get("UV")  # uv sets this for the programs that it runs
    beside = Path(uv).with_name("uvx.exe" if uv.lower().endswith(".exe") else "uvx") if uv else None
    if beside is not None and beside.is_file():
        return str(beside)
    return shutil.which("uvx") or "uvx"


def _source() -> list[str]:
    """The options by which uvx finds a package that is not from an index (PEP 610)."""
    text = metadata.distribution(PROGRAM).read_text("direct_url.json")
    if not text:
        return []
    origin = json.loads(text)
    url = str(origin["url"])
    if "vcs_info" in origin:
        revision = origin["vcs_info"].get("requested_revision")
        url = f"{origin['vcs_info']['vcs']}+{url}{f'@{revision}' if revision else ''}"
    return ["--from", url]
