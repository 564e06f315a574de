"""The official conformance suite, against a real server process, for both revisions of the protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance import suite
from tests.conformance.scenarios import APPLICABLE, CHECKS_THAT_NEED_A_FIXTURE, NOT_APPLICABLE
from tests.http.test_serve import Served, served


@pytest.fixture(scope="module")
def command() -> list[str]:
    try:
        return suite.obtain()
    except suite.NotToBeHadError as reason:
        # pytest lists this in its summary (-rs): whoever reads the run sees what it did not check.
        pytest.skip(f"THE CONFORMANCE SUITE DID NOT RUN (it needs npm): {reason}")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served("--sandbox", NANO_BANANA_LOG_LEVEL="ERROR", NANO_BANANA_STATE_DIR=tmp_path / "state") as running:
        yield running


@pytest.mark.parametrize("revision", APPLICABLE)
def test_every_scenario_that_applies_passes(revision: str, command: list[str], server: Served, tmp_path: Path) -> None:
    report = suite.run(command, server.url, revision, tmp_path / "results")
    print(f"\nconformance {revision}: {len(APPLICABLE[revision])} of {len(report.scenarios)} apply; {report.total}")

    ran = set(report.scenarios)
    assert ran >= APPLICABLE[revision], "an applicable scenario was not run"
    assert ran - APPLICABLE[revision] <= frozenset().union(*NOT_APPLICABLE.values()), "a scenario nobody has judged"

    problems = []
    for scenario in sorted(APPLICABLE[revision]):
        excused = CHECKS_THAT_NEED_A_FIXTURE.get((revision, scenario), frozenset())
        checks = report.scenarios[scenario]
        assert excused <= {check.id for check in checks}, f"{scenario}: what is excused must be there"
        judged = [check for check in checks if check.id not in excused]
        assert any(check.status == "SUCCESS" for check in judged), f"{scenario} has checked nothing"
        problems += [f"{scenario}: {one}" for one in judged if one.status not in ("SUCCESS", "INFO")]
    assert problems == []


def test_nothing_is_both_applicable_and_not() -> None:
    judged = [*NOT_APPLICABLE.values(), frozenset().union(*APPLICABLE.values())]
    assert sum(map(len, judged)) == len(frozenset().union(*judged))
