"""Runs the program as it would be on another system: ``python -m tests.support.other_platform win32 ARGUMENTS…``.

Only its own modules are deceived, and only they see it: what they import of the standard library lacks what that system
lacks, and names that system; what happens below stays as it is here. Where ``OTHER_PLATFORM_REPORT`` names a file, the
names of the modules that were loaded are written to it at the end.
"""

from __future__ import annotations

import asyncio
import atexit
import builtins
import functools
import importlib
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support.platforms import System, is_missing, lacking

PACKAGES = ("nano_banana_mcp", "nano_banana_tools")
STRIPPED = ("asyncio", "errno", "os", "select", "signal", "socket", "sys", "time")


class ForeignModule(ModuleType):
    """A module as it is on another system."""

    def __init__(self, real: ModuleType, missing: frozenset[str], **instead: object) -> None:
        super().__init__(real.__name__, real.__doc__)
        self.__dict__["_parts"] = (real, missing, instead)

    def __getattr__(self, name: str) -> Any:
        real, missing, instead = self.__dict__["_parts"]
        if name in missing:
            raise AttributeError(f"module {real.__name__!r} has no attribute {name!r} there")
        return instead[name] if name in instead else getattr(real, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.__dict__["_parts"][0], name, value)


def pretend(platform: str) -> None:
    """From now on, the project's modules are on ``platform``. None of them may be loaded yet."""
    assert not any(name.partition(".")[0] in PACKAGES for name in sys.modules), "some have seen this system already"
    instead: dict[str, dict[str, object]] = {"sys": {"platform": platform}, "os": {"name": System(platform).os_name}}
    if platform == "win32":
        instead["os"] |= {call.__name__: _without_dir_fd(call) for call in os.supports_dir_fd}
        instead["os"]["supports_dir_fd"] = set()
        io.TextIOWrapper = _Text  # type: ignore[misc, assignment]  # as it is there
        Path.rename = _rename  # type: ignore[method-assign, assignment]  # as it is there
        asyncio.BaseEventLoop.add_signal_handler = _no_handlers  # type: ignore[method-assign, assignment]  # as it is there
        asyncio.SelectorEventLoop.add_signal_handler = _no_handlers  # type: ignore[method-assign, assignment]  # as it is there
    there: dict[str, ModuleType] = {
        name: ForeignModule(importlib.import_module(name), lacking(name, platform), **instead.get(name, {}))
        for name in STRIPPED
    }
    inner: Callable[..., Any] = builtins.__import__

    def load(
        name: str,
        globals: Any = None,  # noqa: A002 - as __import__ names them
        locals: Any = None,  # noqa: A002 - as above
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        if level or (globals or {}).get("__name__", "").partition(".")[0] not in PACKAGES:
            return inner(name, globals, locals, fromlist, level)
        if is_missing(name, platform):
            raise ModuleNotFoundError(f"No module named {name!r} on {platform}", name=name)
        module = inner(name, globals, locals, fromlist, level)
        return there.get(module.__name__, module)

    builtins.__import__ = load


class _Text(io.TextIOWrapper):
    """Text whose written lines end with CR LF by default."""

    def __init__(self, buffer: Any, newline: str | None = None, **others: Any) -> None:
        end = "\r\n" if newline is None and buffer.writable() else newline
        super().__init__(buffer, newline=end, **others)


def _rename(self: Path, target: str | os.PathLike[str]) -> Path:
    if os.path.lexists(target):
        raise FileExistsError(17, "Cannot create a file when that file already exists", str(target))
    os.rename(self, target)
    return Path(target)


def _without_dir_fd(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def without(*arguments: Any, dir_fd: int | None = None, **others: Any) -> Any:
        if dir_fd is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        return call(*arguments, **others)

    return without


def _no_handlers(*_: object) -> None:
    raise NotImplementedError


def main() -> int:
    """Run the program."""
    platform, *arguments = sys.argv[1:]
    pretend(platform)
    if report := os.environ.get("OTHER_PLATFORM_REPORT"):
        atexit.register(_report, Path(report))
    from nano_banana_mcp.cli import main as program

    return program(arguments)


def _report(path: Path) -> None:
    ours = sorted(name for name in sys.modules if name.partition(".")[0] in PACKAGES)
    path.write_text(json.dumps(ours), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
