"""The command by which a host starts this installation from any folder and with a bare ``PATH``."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

PROGRAM = "nano-banana-mcp"
_LAUNCHERS = {"uvx", "uv", "pipx"}
"""Programs that run a Python package by its name."""
_REFERENCE = re.compile(r"\$\{(?:env:)?(?P<braced>\w+)(?::-(?P<default>[^}]*))?\}|\$(?P<plain>[A-Za-z_]\w*)")
"""``${NAME}``, ``${NAME:-default}``, ``${env:NAME}`` or ``$NAME``, as the hosts write them."""


def command() -> list[str]:
    """The absolute command of the running installation, or ``uvx`` where it runs from uv's cache."""
    if _runs_from_uv_cache(Path(sys.prefix)):
        return [_uvx(), *_source(), *(["--with", "keyring"] if find_spec("keyring") else []), PROGRAM]
    script = Path(sys.argv[0]).absolute() if sys.argv and sys.argv[0] else None
    if script is not None and script.name.startswith(PROGRAM):
        for candidate in (script, script.with_name(f"{script.name}.exe")):  # launchers on Windows leave the suffix out
            if candidate.is_file():
                return [str(candidate)]
    on_path = shutil.which(PROGRAM)
    if on_path:
        return [str(Path(on_path).absolute())]
    return [sys.executable, "-P", "-m", "nano_banana_mcp"]


@dataclass(frozen=True, slots=True)
class Launch:
    """What a host starts for an entry."""

    program: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    """The variables that the entry sets, besides those that the host passes on anyway."""


def is_ours(entry: object) -> bool:
    """Whether an entry of a host's configuration starts this program.

    The name alone is not enough: npm has another project of the same name.
    """
    launch = launch_of(entry)
    if launch is None:
        return False
    name = _base_name(launch.program)
    if name in _LAUNCHERS:
        return any(_base_name(word).split("@")[0] == PROGRAM for word in launch.arguments)
    if name.startswith("python") or name == "py":
        return "nano_banana_mcp" in launch.arguments
    return name == PROGRAM


def launch_of(entry: object, variables: Mapping[str, str] | None = None) -> Launch | None:
    """What a host starts for an entry; None if it starts nothing.

    Args:
        entry: The entry, in the form of any host.
        variables: What the host fills in where the entry refers to a variable; None if it fills in nothing.
    """
    if not isinstance(entry, dict):
        return None
    source = entry["command"] if isinstance(entry.get("command"), dict) else entry  # an older form in Zed
    program = source.get("command") or source.get("cmd") or source.get("path")
    if not isinstance(program, str):
        return None
    arguments = tuple(word for word in _listed(source.get("args")) if isinstance(word, str))
    environment = {}
    for key in ("env", "envs"):
        values = source.get(key)
        for name, value in values.items() if isinstance(values, dict) else ():
            environment[str(name)] = str(value) if variables is None else filled_in(str(value), variables)
    for key in ("env_vars", "env_keys"):
        for name in _listed(entry.get(key)):
            if isinstance(name, str) and variables and name in variables:
                environment[name] = variables[name]
    return Launch(program, arguments, environment)


def filled_in(value: str, variables: Mapping[str, str]) -> str:
    """The value with its variables; an unknown one stays unchanged, or becomes its default."""

    def replacement(match: re.Match[str]) -> str:
        name, default = match["braced"] or match["plain"], match["default"]
        return variables.get(name, match[0] if default is None else default)

    return _REFERENCE.sub(replacement, value)


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
