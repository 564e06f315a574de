"""The official conformance suite, against a server in this process, for both revisions of the protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.to_thread import run_sync as in_thread

from tests.release.conformance import suite
from tests.release.conformance.scenarios import (
    APPLICABLE,
    NOT_APPLICABLE,
    SKIPPED_BY_THE_SUITE,
    TASK_SCENARIOS,
    problems,
    task_problems,
)
from tests.release.conformance.suite import Check
from tests.release.conformance.task_fixtures import serving_task_fixtures
from tests.support import npm
from tests.support.http_server import Served, at, served
from tests.support.sandbox import sandbox_thread


@pytest.fixture(scope="module")
def command() -> list[str]:
    try:
        return suite.obtain()
    except npm.PackageUnavailableError as reason:
        # pytest lists this in its summary (-rs): readers of the run see what it did not check.
        pytest.skip(f"THE CONFORMANCE SUITE DID NOT RUN (it needs npm): {reason}")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with sandbox_thread() as sandbox, served(**at(sandbox.url, NANO_BANANA_STATE_DIR=tmp_path / "state")) as running:
        yield running


@pytest.mark.parametrize("revision", APPLICABLE)
def test_every_scenario_that_applies_passes(revision: str, command: list[str], server: Served, tmp_path: Path) -> None:
    report = suite.run(command, server.url, revision, tmp_path / "results")
    print(f"\nconformance {revision}: {len(APPLICABLE[revision])} of {len(report.scenarios)} apply; {report.total}")

    assert problems(revision, report.scenarios) == []


async def test_every_task_scenario_passes_against_its_tools_and_our_extension(
    command: list[str], tmp_path: Path
) -> None:
    async with serving_task_fixtures() as url:
        report = await in_thread(suite.run, command, url, "2026-07-28", tmp_path / "results")

    assert task_problems(report.scenarios) == []


def test_a_task_scenario_that_was_not_run_or_skipped_or_failed_is_a_problem() -> None:
    scenarios = {name: [Check("one", "SUCCESS", "")] for name in TASK_SCENARIOS - SKIPPED_BY_THE_SUITE}
    scenarios |= {name: [Check("one", "SKIPPED", "")] for name in SKIPPED_BY_THE_SUITE}
    assert task_problems(scenarios) == []
    for checks in ([], [Check("one", "SKIPPED", "")], [Check("one", "FAILURE", "")]):
        assert len(task_problems({**scenarios, "tasks-lifecycle": checks})) == 1


def test_a_scenario_that_was_not_run_not_judged_or_failed_is_a_problem() -> None:
    revision = "2025-11-25"
    scenarios = {name: [Check("one", "SUCCESS", "")] for name in APPLICABLE[revision]}
    assert problems(revision, scenarios) == []
    for name, checks in (("ping", []), ("ping", [Check("one", "FAILURE", "no pong")]), ("new", [])):
        assert len(problems(revision, {**scenarios, name: checks})) in (1, 2)


def test_nothing_is_both_applicable_and_not() -> None:
    judged = [*NOT_APPLICABLE.values(), frozenset().union(*APPLICABLE.values())]
    assert sum(map(len, judged)) == len(frozenset().union(*judged))
