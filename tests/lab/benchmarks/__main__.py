"""Measure, print the table, write it as JSON, and make the page of it. See ``--help``."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import logging
import os
import platform
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tests.lab.benchmarks import peer
from tests.lab.benchmarks.figures import Report, lines
from tests.lab.benchmarks.groups import GROUPS, Group
from tests.lab.benchmarks.page import FIGURES, write
from tests.support.paths import ROOT

LOG = ROOT / "build" / "bench.log"
"""What the measured processes say."""

MAX_REASON = 200

PACKAGES = ("nano-banana-mcp", "mcp", "pydantic", "anyio", "httpx", "starlette", "uvicorn", "pillow")


def conditions(quick: bool) -> dict[str, Any]:
    """What the figures may depend on, without anything that identifies the machine."""
    pins = dict(line.split(" ")[0].split("==") for line in peer.PINS.read_text("utf-8").splitlines() if "==" in line)
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "busy": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "packages": {**packages, "fastmcp": pins["fastmcp"]},
        "quick": quick,
        "seconds": 0,
    }


def measure(names: Iterable[str], quick: bool, keep: Path, groups: Mapping[str, Group] = GROUPS) -> Report:
    """All figures of these groups; says on stderr how far it is, and keeps in a file what there is after each.

    A group that breaks off is kept as such, with what it had found; the others are measured all the same.
    """
    report = Report(conditions(quick))
    whole = time.monotonic()
    with _aside(LOG) as terminal:
        for name in names:
            began = time.monotonic()
            try:
                for row in groups[name].rows(quick):
                    report.add(name, row)
            except Exception as error:  # noqa: BLE001 - whatever it is, it costs this group's figures and no others
                os.write(2, traceback.format_exc().encode())
                report.broken[name] = reason(error)
                terminal.write(f"{name}: BROKE OFF: {report.broken[name]}; all of it is in {LOG}\n")
            terminal.write(f"{name}: {time.monotonic() - began:.0f} s\n")
            report.conditions["seconds"] = round(time.monotonic() - whole)
            keep.write_text(report.to_json(), encoding="utf-8")
    return report


def reason(error: BaseException) -> str:
    """Why, in one line; of a group of errors, the first that is none."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(f"{type(error).__name__}: {error}".split())[:MAX_REASON]


@contextmanager
def _aside(log: Path) -> Iterator[TextIO]:
    """What servers say on stderr goes to a file; yields the terminal."""
    level = logging.root.manager.disable
    with log.open("wb") as file, os.fdopen(os.dup(2), "w", buffering=1) as terminal:
        os.dup2(file.fileno(), 2)
        logging.disable(logging.INFO)  # servers in this process would log every call
        try:
            yield terminal
        finally:
            logging.disable(level)
            os.dup2(terminal.fileno(), 2)


def main(arguments: list[str] | None = None, groups: Mapping[str, Group] = GROUPS) -> int:
    """As the arguments say. Returns the exit code: 1 where a group broke off."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab.benchmarks",
        description="Measure every figure that is promised, and print it beside its target.",
    )
    parser.add_argument("--only", metavar="GROUP,…", help=f"only these groups, of: {', '.join(groups)}")
    parser.add_argument("--quick", action="store_true", help="few rounds: for a first look, not for comparing")
    parser.add_argument(
        "--json", type=Path, default=ROOT / "build" / "bench.json", help="where to write the figures (build/bench.json)"
    )
    parser.add_argument(
        "--docs", action="store_true", help="also renew the figures and the page in docs/; wants a whole run"
    )
    wanted = parser.parse_args(arguments)
    names = wanted.only.split(",") if wanted.only else list(groups)
    if unknown := set(names) - groups.keys():
        parser.error(f"there is no group {', '.join(sorted(unknown))}")
    if wanted.docs and (wanted.quick or wanted.only):
        parser.error("--docs wants all groups, and all rounds")

    for file in (LOG, wanted.json):
        file.parent.mkdir(parents=True, exist_ok=True)
    report = measure(names, wanted.quick, wanted.json, groups)
    print("\n".join(lines(report, {name: group.title for name, group in groups.items()})))
    if report.broken:
        if wanted.docs:
            print("docs/ is left as it was: not all was measured", file=sys.stderr)
        return 1
    if wanted.docs:
        FIGURES.write_text(report.to_json(), encoding="utf-8")
        write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
