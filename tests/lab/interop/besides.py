"""What is run besides the clients: the conformance suite, and the lint of the tools' descriptions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.release.conformance import suite
from tests.release.conformance.scenarios import APPLICABLE, problems
from tests.support.clients import clean_environment
from tests.support.npm import NotToBeHadError

LINT = ["-m", "tdqs", "lint", "--fail-on", "warning"]


def conformance(url: str, folder: Path) -> list[tuple[str, str, bool]]:
    """What, what came of it, and whether it is as it should be, for each revision of the protocol."""
    rows = []
    for revision, applicable in APPLICABLE.items():
        what = f"conformance suite {suite.SUITE_VERSION}, {revision}"
        try:
            report = suite.run(suite.obtain(), url, revision, folder / revision)
        except NotToBeHadError as reason:
            rows.append((what, f"**not run**: {reason}", False))
            continue
        wrong = problems(revision, report.scenarios)
        passed = f"all {len(applicable)} scenarios that apply pass"
        rows.append((what, "; ".join(wrong) or passed, not wrong))
    return rows


def description_lint(server: list[str], environment: dict[str, str]) -> tuple[str, str, bool]:
    """``tdqs lint`` of what a server process lists."""
    ended = subprocess.run(
        [sys.executable, *LINT, "--command", " ".join(server)],
        env={**clean_environment(), **environment, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    sums = re.search(r"^\d+ errors, .*$", ended.stdout, re.MULTILINE)
    output = sums[0] if sums else (ended.stderr or ended.stdout).strip()[-300:]
    return "`tdqs lint --fail-on warning`", output, ended.returncode == 0
