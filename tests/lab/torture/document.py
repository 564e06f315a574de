"""``python -m tests.lab.torture.document``: writes docs/torture.md from the results of a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.lab.torture.__main__ import PARTS, RESULTS, kept_tallies
from tests.lab.torture.tally import HEAD, Tally, rows
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "torture.md"

_HEAD = """\
# One run of `make torture`

What a real server process bears, and what is lost by it. Everything is real but the API: the server is a child
process, the API is the [sandbox](sandbox.md) or a server on raw sockets, and a fault is one of the network's, not
of a mock.

- **faults**: resets before, during and after the body, half-closed connections, headers and bodies that drip,
  wrong lengths, garbage, endless answers, TLS that fails in the handshake or after it, names that lead nowhere ×
  the submit, the query, the fetching of a picture, the callback and the call over HTTP. After each the server has
  to say in words whether credits may be gone, know the task or show it as `unknown`, have sent one submit at the
  most, and serve the next call.
- **ends**: `kill -9` at ten named points of a submit; clients that leave amid one, over stdio and HTTP; a serving
  process that is killed, or told to end, amid a dozen.
- **requests**: every tool from its own schema (right, nearly right and absurd arguments), every other method, in
  both eras of the protocol. No answer may be missing, an internal error, or an error without words.
- **bytes**: lines on stdin and bytes on the port that are no requests.
- **soak**: callers who ask, wait, look and browse without a pause, with callbacks, and what the process takes
  meanwhile.

*Lost* counts pictures that were charged, or may have been, and that the ledger does not account for; *double*,
submits sent again although the first may have arrived; *crashes*, processes that ended, hung, or logged an error
that nobody foresaw; *wrong*, any other wrong answer. At the end of each part the submits that the API counted are
compared with the ledger.

## Counts

"""

_TAIL = """
## How to repeat it

<!-- not run: hours; tests/lab/torture/test_torture.py runs a short form -->

    make torture                                   # the long form
    make torture TORTURE=--quick                   # some minutes
    make torture TORTURE="--long --only soak"      # one part again; the others stay as they were
    python -m tests.lab.torture.document               # this page, from the last results

A case that fails is shrunk to the smallest that does, and printed with its seed. `--seed` begins elsewhere.
"""


def text(results: dict[str, Any], tallies: list[Tally]) -> str:
    """The page."""
    lines = [HEAD, ["---", *["--:"] * (len(HEAD) - 1)], *rows(tallies)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    parts = {name: results["parts"][name] for name in PARTS if name in results["parts"]}
    when = ", ".join(
        f"{name}: {part['form']} form, seed {part['seed']}, {part['date']}" for name, part in parts.items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    facts = [f"- {each.name}: {_figures(each.figures)}" for each in tallies if each.figures]
    failures = [f"- {each.name}: {failure}" for each in tallies for failure in each.failures]
    told = "\n## What failed\n\n" + "\n".join(failures) + "\n" if failures else ""
    return (
        f"{_HEAD}{table}\n\n{when}.\n\n{versions}.\n{told}\n## What else was counted\n\n"
        + "\n".join(facts)
        + "\n"
        + _TAIL
    )


def _figures(figures: dict[str, Any]) -> str:
    def shown(value: Any) -> str:
        if isinstance(value, dict):
            return _figures(value)
        return (
            ", ".join(map(shown, value))
            if isinstance(value, list)
            else f"{value:,}"
            if isinstance(value, int)
            else str(value)
        )

    return "; ".join(f"{name} {shown(value)}" for name, value in figures.items())


def main(results: Path = RESULTS) -> None:
    """Write it."""
    DOCUMENT.write_text(text(json.loads(results.read_text()), kept_tallies(results)), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
