"""The conformance suite and the lint of the tools' descriptions, run besides the clients."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread

from tests.release.conformance import suite
from tests.release.conformance.scenarios import (
    APPLICABLE,
    SKIPPED_BY_THE_SUITE,
    TASK_SCENARIOS,
    problems,
    task_problems,
)
from tests.release.conformance.task_fixtures import serving_task_fixtures
from tests.support.clients import clean_environment
from tests.support.npm import PackageUnavailableError

LINT = ["-m", "tdqs", "lint", "--fail-on", "warning"]


def conformance(url: str, folder: Path) -> list[tuple[str, str, bool]]:
    """What, what came of it, and whether it is as it should be, for each revision of the protocol."""
    rows = []
    for revision, applicable in APPLICABLE.items():
        what = f"conformance suite {suite.SUITE_VERSION}, {revision}"
        try:
            report = suite.run(suite.obtain(), url, revision, folder / revision)
        except PackageUnavailableError as reason:
            rows.append((what, f"**not run**: {reason}", False))
            continue
        wrong = problems(revision, report.scenarios)
        passed = f"all {len(applicable)} scenarios that apply pass"
        rows.append((what, "; ".join(wrong) or passed, not wrong))
    return rows


def task_conformance(folder: Path) -> tuple[str, str, bool]:
    """The suite's scenarios of MCP Tasks, against a server with their tools and our extension class."""
    what = f"conformance suite {suite.SUITE_VERSION}, background tasks"

    async def report() -> list[str]:
        async with serving_task_fixtures() as url:
            run = await anyio.to_thread.run_sync(suite.run, suite.obtain(), url, "2026-07-28", folder / "tasks")
        return task_problems(run.scenarios)

    try:
        wrong = anyio.run(report)
    except PackageUnavailableError as reason:
        return what, f"**not run**: {reason}", False
    checked = len(TASK_SCENARIOS - SKIPPED_BY_THE_SUITE)
    return what, "; ".join(wrong) or f"all {checked} scenarios pass; the suite skips that of notifications", not wrong


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
