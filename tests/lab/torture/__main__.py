"""``python -m tests.lab.torture [--quick | --long] [--only PART,…] [--seed N] [--results FILE]``.

Prints a table of counts and exits with 1 if anything was lost, sent twice, crashed or wrong. What each part came to is
kept in the file of results as soon as it has ended: `--only` runs a part again and leaves the others as they were.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.lab.torture.tally import HEAD, Tally, rows
from tests.support.paths import ROOT

RESULTS = ROOT / "build" / "torture.json"
PACKAGES = ("mcp", "httpx", "anyio", "pydantic", "uvicorn", "starlette", "hypothesis")

SIZES: dict[str, dict[str, Any]] = {
    "quick": {
        "rounds": 3,
        "kills": 4,
        "soak": 20.0,
        "requests": 2_500,
        "tasks": 300,
        "confirmations": 300,
        "uploads": 300,
        "stdin": 1_500,
        "port": 1_000,
    },
    "long": {
        "rounds": 100,
        "kills": 30,
        "soak": 1_800.0,
        "requests": 45_000,
        "tasks": 4_000,
        "confirmations": 4_000,
        "uploads": 4_000,
        "stdin": 35_000,
        "port": 20_000,
    },
    "fuzz": {"requests": 200, "tasks": 30, "confirmations": 40, "uploads": 30, "stdin": 120, "port": 80},
}
SHARES = {"tools over stdio": 0.34, "tools over HTTP": 0.1, "methods over stdio": 0.46, "methods over HTTP": 0.1}
TASK_SHARES = {"stdio": 0.6, "HTTP": 0.4}
CONFIRMATION_SHARES = {"2025 over stdio": 0.4, "2026 over stdio": 0.3, "2026 over HTTP": 0.3}


def _faults(folder: Path, size: dict[str, Any], seed: int) -> Iterator[Tally]:
    from tests.lab.torture.incoming import incoming
    from tests.lab.torture.matrix import matrix
    from tests.lab.torture.tls import names, tls

    long = size is SIZES["long"]
    yield from matrix(folder, long=long)
    yield tls(folder / "tls", long=long)
    yield names(folder / "names")
    yield from incoming(folder / "incoming")


def _ends(folder: Path, size: dict[str, Any], seed: int) -> Iterator[Tally]:
    from tests.lab.torture import ends

    yield from ends.crash_rounds(folder / "rounds", size["rounds"])
    yield ends.leaving(folder / "leaving", size["rounds"] * 3, seed)
    yield ends.killed(folder / "killed", size["kills"], seed)
    yield ends.batches(folder / "batches", size["kills"], seed)


def _requests(folder: Path, size: dict[str, Any], seed: int) -> Iterator[Tally]:
    from tests.lab.torture.fuzz_requests import fuzz

    yield from fuzz(folder, _shared(size["requests"], SHARES), seed)


def _tasks(folder: Path, size: dict[str, Any], seed: int) -> Iterator[Tally]:
    from tests.lab.torture.fuzz_tasks import fuzz_tasks

    yield from fuzz_tasks(folder, _shared(size["tasks"], TASK_SHARES), seed)


def _confirmations(folder: Path, size: dict[str, Any], seed: int) -> Iterator[Tally]:
    from tests.lab.torture.fuzz_confirmations import fuzz_confirmations

    yield from fuzz_confirmations(folder, _shared(size["confirmations"], CONFIRMATION_SHARES), seed)


def _bytes(folder: Path, size: dict[str, Any], seed: int) -> Iterator[Tally]:
    from tests.lab.torture.fuzz_bytes import fuzz_port, fuzz_stdin
    from tests.lab.torture.fuzz_uploads import fuzz_uploads

    yield fuzz_stdin(folder / "stdin", size["stdin"], seed)
    yield fuzz_port(folder / "port", size["port"], seed)
    yield fuzz_uploads(folder / "uploads", size["uploads"], seed)


def _soak(folder: Path, size: dict[str, Any], seed: int) -> Iterator[Tally]:
    from tests.lab.torture.soak import soak

    yield soak(folder, size["soak"])


PARTS: dict[str, Callable[[Path, dict[str, Any], int], Iterator[Tally]]] = {
    "faults": _faults,
    "ends": _ends,
    "requests": _requests,
    "tasks": _tasks,
    "confirmations": _confirmations,
    "bytes": _bytes,
    "soak": _soak,
}


FUZZ_PARTS = ["requests", "tasks", "confirmations", "bytes"]


def run(parts: Iterable[str], size: str, seed: int, results: Path) -> bool:
    """Run parts, and keep what each came to. Returns whether all is as it must be."""
    well = True
    for part in parts:
        tallies = []
        with tempfile.TemporaryDirectory(prefix="nano-banana-torture-") as folder:
            began = time.monotonic()
            for tally in PARTS[part](Path(folder) / part, SIZES[size], seed):
                tally.seconds = round(time.monotonic() - began, 1)
                began = time.monotonic()
                tallies.append(tally)
                well = well and not tally.broken
                _tell(tally)
        _keep(
            results,
            part,
            {"form": size, "seed": seed, "date": _today(), "tallies": [item.as_dict() for item in tallies]},
        )
    return well


def _shared(count: int, shares: dict[str, float]) -> dict[str, int]:
    """Cases by part."""
    return {part: round(count * share) for part, share in shares.items()}


def _tell(tally: Tally) -> None:
    print(
        f"{tally.name}: {tally.survived:,} of {tally.tried:,} survived, in {tally.seconds:.0f} s {tally.figures or ''}"
    )
    for failure in tally.failures:
        print(f"  FAILED {failure}")
    sys.stdout.flush()


def _keep(results: Path, part: str, came_to: dict[str, Any]) -> None:
    results_by_part = json.loads(results.read_text()) if results.exists() else {}
    results_by_part.setdefault("parts", {})[part] = came_to
    results_by_part["versions"] = versions()
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(results_by_part, indent=1, sort_keys=True) + "\n")


def versions() -> dict[str, str]:
    """Of what was under load."""
    packages = {name: importlib.metadata.version(name) for name in ("nano-banana-mcp", *PACKAGES)}
    return {"python": platform.python_version(), "system": platform.system(), **packages}


def _today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


def kept_tallies(results: Path) -> list[Tally]:
    """All that the file of results holds, in the order of the parts."""
    parts = json.loads(results.read_text())["parts"]
    return [Tally.of(item) for part in PARTS if part in parts for item in parts[part]["tallies"]]


def table(tallies: Iterable[Tally]) -> str:
    """For people."""
    lines = [HEAD, *rows(tallies)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(HEAD))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    )


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab.torture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--quick", dest="form", action="store_const", const="quick", help="some minutes (the default)")
    form.add_argument(
        "--long",
        dest="form",
        action="store_const",
        const="long",
        help="an hour: 110,000 cases, 30 minutes of load",
    )
    form.add_argument("--fuzz", dest="form", action="store_const", const="fuzz", help="500 cases, nothing else")
    parser.add_argument("--only", default="", metavar="PARTS", help=f"some of {', '.join(PARTS)}, with commas")
    parser.add_argument("--seed", type=int, default=1, help="where the search begins (default: 1)")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help="where they are kept as JSON")
    parser.set_defaults(form="quick")
    given = parser.parse_args(arguments)
    parts = [part for part in given.only.split(",") if part] or (FUZZ_PARTS if given.form == "fuzz" else list(PARTS))
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    print(
        f"seed {given.seed}, {given.form}; {', '.join(f'{name} {version}' for name, version in versions().items())}",
        flush=True,
    )
    well = run(parts, given.form, given.seed, given.results)
    print(f"\n{table(kept_tallies(given.results))}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
