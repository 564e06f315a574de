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

A real server process under faults and load. Only the API is not real: it is the [sandbox](sandbox.md) or a server on
raw sockets. Faults are injected on the network, not in mocks.

- **faults**: resets before, during and after the body, half-closed connections, slow headers and bodies, wrong
  lengths, garbage, endless answers, TLS failures and DNS failures, for the submit, the query, the download of an
  image, the callback and the call over HTTP. After each fault the server must say whether credits may be gone, know
  the task or show it as `unknown`, have sent at most one submit, and answer the next call.
- **ends**: `kill -9` at ten named points of a submit and twelve of a batch of four; clients that leave during a
  submit, over stdio and HTTP; server processes that are killed or get SIGTERM during a dozen submits, or during four
  batches. Every batch that was cut is called again with its `request_id`: then all four images are accounted for, and
  none was sent twice. Up to four processes run at once on one state folder.
- **requests**: every tool from its own schema (valid, almost valid and random arguments) and every other method, in
  both eras of the protocol. No answer may be missing, an internal error, or an error without a message.
- **tasks**: the same for `tasks/*` and the calls of clients that declare Tasks. Each task ends with the answer that
  `get_task` gives.
- **confirmations**: approvals, refusals, malformed answers, no answer, answers to another question, repeated and forged
  ones. Exactly what a person approved may be submitted, once.
- **bytes**: invalid lines on stdin and invalid bytes on the port; forms on the page for uploads that are broken, cut,
  from another site, or with a grant that is used up, expired or unknown.
- **soak**: clients that make images, batches that a person confirms or refuses, tasks, and edits of uploads, with
  callbacks, and the memory, files and threads of the server meanwhile. The memory must not grow steadily: after a third
  of the time, the medians of six windows must show no trend (Mann-Kendall, 1 %) of more than 5 % (Theil-Sen).

*Lost* counts images that were or may have been charged and that the ledger does not account for; *double*, submits
sent again although the first may have arrived; *crashes*, processes that ended, hung, or logged an unexpected error;
*wrong*, any other wrong answer. At the end of each part the tasks that the API charged are compared with the ledger
and with the answers of the server.

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
    facts = [f"- {item.name}: {_figures(item.figures)}" for item in tallies if item.figures]
    failures = [f"- {item.name}: {failure}" for item in tallies for failure in item.failures]
    failures_section = "\n## What failed\n\n" + "\n".join(failures) + "\n" if failures else ""
    return (
        f"{_HEAD}{table}\n\n{when}.\n\n{versions}.\n{failures_section}\n## What else was counted\n\n"
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
