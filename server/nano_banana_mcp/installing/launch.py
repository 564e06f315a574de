"""How hosts should start this very installation: in a way that works from any folder and with a bare ``PATH``."""

from __future__ import annotations

import json
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

PROGRAM = "nano-banana-mcp"


def command() -> list[str]:
    """The absolute command of the running installation, or ``uvx`` where it runs from uv's cache."""
    if _runs_from_uv_cache(Path(sys.prefix)):
        return [_uvx(), *_source(), PROGRAM]
    script = Path(sys.argv[0]).absolute() if sys.argv and sys.argv[0] else None
    if script is not None and script.name.startswith(PROGRAM):
        for candidate in (script, script.with_name(f"{script.name}.exe")):  # Windows' launchers leave it out
            if candidate.is_file():
                return [str(candidate)]
    found = shutil.which(PROGRAM)
    if found:
        return [str(Path(found).absolute())]
    return [sys.executable, "-P", "-m", "nano_banana_mcp"]


def is_ours(entry: object) -> bool:
    """Whether an entry of a host's configuration starts this program."""
    if not isinstance(entry, dict):
        return False
    words = [entry.get("command"), entry.get("cmd"), *_listed(entry.get("args"))]
    if isinstance(entry.get("command"), dict):  # an older form of Zed's
        words = [entry["command"].get("path"), *_listed(entry["command"].get("args"))]
    names = [str(word).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] for word in words if isinstance(word, str)]
    return any(name.removesuffix(".exe").split("@")[0] in (PROGRAM, "nano_banana_mcp") for name in names)


def exists(program: str) -> bool:
    """Whether a host would find this program."""
    return shutil.which(program) is not None


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _runs_from_uv_cache(prefix: Path) -> bool:
    # `uvx` and `uv tool run` make environments under these folders of the cache, and clean them away some day.
    return any(part.startswith(("archive-v", "environments-v")) for part in prefix.parts)


def _uvx() -> str:
    uv = os.environ.get("UV")  # uv names itself to what it runs
    beside = Path(uv).with_name("uvx.exe" if uv.lower().endswith(".exe") else "uvx") if uv else None
    if beside is not None and beside.is_file():
        return str(beside)
    return shutil.which("uvx") or "uvx"


def _source() -> list[str]:
    """What uvx must be told where the package is not from an index (PEP 610)."""
    text = metadata.distribution(PROGRAM).read_text("direct_url.json")
    if not text:
        return []
    origin = json.loads(text)
    url = str(origin["url"])
    if "vcs_info" in origin:
        revision = origin["vcs_info"].get("requested_revision")
        url = f"{origin['vcs_info']['vcs']}+{url}{f'@{revision}' if revision else ''}"
    return ["--from", url]
