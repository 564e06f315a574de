"""The official conformance suite, by npm. This is the only place that names its version."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import npm

SUITE = "@modelcontextprotocol/conformance"
SUITE_VERSION = "0.2.0-alpha.12"

RUN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a scenario looked at."""

    id: str
    status: str
    words: str


@dataclass(frozen=True, slots=True)
class Report:
    """What one run found: the checks of each scenario, and the line with the sums."""

    scenarios: dict[str, list[Check]]
    total: str


def obtain() -> list[str]:
    """The start of the suite's command line, installed first where it is not yet.

    Raises:
        npm.PackageUnavailableError: there is no npm, or it cannot install, or what it installs does not run here.
    """
    return [npm.node(), str(npm.packages("conformance", {SUITE: SUITE_VERSION}) / SUITE / "dist" / "index.js")]


def run(command: Sequence[str], url: str, revision: str, folder: Path) -> Report:
    """Run the suite against the server at ``url``; ``folder`` (empty) takes its results."""
    ended = subprocess.run(
        [*command, "server", "--url", url, "--requirements", revision, "--output-dir", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,  # it is 1 where a scenario fails that needs a fixture, too
    )
    scenarios: dict[str, list[Check]] = {}
    for file in folder.glob("*/checks.json"):
        named = re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z", file.parent.name)
        assert named, file.parent.name
        checks = json.loads(file.read_text(encoding="utf-8"))
        scenarios[named[1]] = [Check(one["id"], one["status"], one.get("errorMessage") or "") for one in checks]
    total = re.search(r"^Total: .*$", ended.stdout, re.MULTILINE)
    assert total, f"the suite did not come to its end: {(ended.stderr or ended.stdout)[-2000:]}"
    return Report(scenarios, total[0])
