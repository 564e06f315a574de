"""Mutation tests: changes critical code, one small change at a time, and checks that a test fails.

``make mutants`` runs it. What is changed, and by which tests it is judged, stands in
``pyproject.toml`` (``tool.mutmut``).
A change that no test notices must be explained in ``survivors.md``, or the run fails. With patterns of names as
arguments (``'*schedule*'``) only those are tried and reported.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from tests.support.paths import ROOT

PLACE = ROOT / "build" / "mutation"
EXPLAINED = Path(__file__).parent / "survivors.md"
SOURCES = {
    "src/nano_banana_mcp": ROOT / "server" / "nano_banana_mcp",
    "src/nano_banana_sandbox": ROOT / "server" / "nano_banana_sandbox",
    "src/nano_banana_tools": ROOT / "tools" / "nano_banana_tools",
    "tests": ROOT / "tests",
}
NOTICED = ("killed", "timeout")
TOGETHER = "2"


class Change(NamedTuple):
    """What was changed where, however the tool numbers it today."""

    module: str
    function: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"`{self.module}` `{self.function}`\n\n```diff\n" + "\n".join(self.lines) + "\n```\n"


def explained(text: str) -> set[Change]:
    """The changes that a text explains, each in a section of its own with the change and the reason."""
    result = set()
    for section in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        shape = re.fullmatch(r"`([\w.]+)` `([\w.]+)`\n+(.*)", section, re.DOTALL)
        assert shape, section
        blocks = re.findall(r"```diff\n(.*?)\n```", shape[3], re.DOTALL)
        reason = re.sub(r"```diff\n.*?\n```", "", shape[3], flags=re.DOTALL).strip()
        assert blocks, f"no change: {section}"
        assert reason, f"no reason: {section}"
        result |= {Change(shape[1], shape[2], tuple(block.splitlines())) for block in blocks}
    return result


def lay_out() -> None:
    """A copy of the project in the shape that the tool expects."""
    for name, source in SOURCES.items():
        shutil.copytree(
            source, PLACE / name, ignore=shutil.ignore_patterns("__pycache__", "snapshots"), dirs_exist_ok=True
        )
    shutil.copy2(ROOT / "pyproject.toml", PLACE)


def mutmut(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments], cwd=PLACE, check=True, capture_output=True, text=True
    ).stdout


def results() -> Iterator[tuple[str, str]]:
    """Each change by its name, and what became of it."""
    for line in mutmut("results", "--all", "true").splitlines():
        name, _, status = line.strip().partition(": ")
        if status:
            yield name, status


def shown(name: str) -> Change:
    diff = mutmut("show", name).splitlines()
    lines = [line for line in diff if line[:1] in ("-", "+") and line[:3] not in ("---", "+++")]
    return Change(module_of(name), function_of(name), tuple(f"{line[0]} {line[1:].strip()}" for line in lines))


def module_of(name: str) -> str:
    return name.rpartition(".")[0].removeprefix("nano_banana_mcp.")


def function_of(name: str) -> str:
    mangled = name.rpartition(".")[2].partition("__mutmut_")[0]
    return mangled.removeprefix("x_") if mangled.startswith("x_") else ".".join(mangled.split("ǁ")[1:])


def main(patterns: list[str]) -> int:
    if not patterns:
        shutil.rmtree(PLACE, ignore_errors=True)
    lay_out()
    # Always by pattern: then the unchanged code is tried by the tests' ids as well. An id that pytest does not find
    # again (one given with a backslash in it) would make every change that its test judges look noticed.
    run = [sys.executable, "-m", "mutmut", "run", "--max-children", TOGETHER, *(patterns or ["*"])]
    if subprocess.run(run, cwd=PLACE, check=False).returncode:
        return 1
    accepted = explained(EXPLAINED.read_text(encoding="utf-8"))
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    survived = set()
    not_tried = set()
    for name, status in results():
        if patterns and not any(fnmatch(name, pattern) for pattern in patterns):
            not_tried.add((module_of(name), function_of(name)))
            continue
        kind = status
        if status not in NOTICED:
            change = shown(name)
            survived.add(change)
            kind = "explained" if change in accepted else "not explained"
            if change not in accepted:
                print(f"\n### {change}\n{status}: {name}")
        counts[module_of(name)][kind] += 1
    print(table(counts))
    for change in sorted(accepted - survived):
        if (change.module, change.function) in not_tried:
            continue
        print(f"\nno longer needed in {EXPLAINED.name}, since a test notices it (or it has gone):\n{change}")
    unexplained = sum(count["not explained"] for count in counts.values())
    if unexplained:
        print(
            f"\n{unexplained} changes were noticed by no test: write one, or say in {EXPLAINED.name} why none can be."
        )
    return 1 if unexplained else 0


def table(counts: dict[str, Counter[str]]) -> str:
    kinds = (*NOTICED, "explained", "not explained")
    rows = [f"\n{'':26}{'mutants':>10}" + "".join(f"{kind:>15}" for kind in kinds)]
    for module, count in [*sorted(counts.items()), ("all", sum(counts.values(), Counter()))]:
        rows.append(f"{module:26}{count.total():>10}" + "".join(f"{count[kind]:>15}" for kind in kinds))
    return "\n".join(rows)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
