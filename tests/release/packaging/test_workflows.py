"""The workflow files: well formed, on every system and Python that is promised, and without a stored secret."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_may_write_only_where_a_job_is_granted_it_and_stores_no_secret(file: Any) -> None:
    text = file.read_text(encoding="utf-8")
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    assert "secrets." not in text


def test_the_suite_runs_on_every_system_and_every_python_that_the_package_is_for() -> None:
    matrix = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]["test"]["strategy"][
        "matrix"
    ]
    assert matrix["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["classifiers"]
    promised = [match[1] for item in classifiers if (match := re.fullmatch(r".*Python :: (3\.\d+)", item))]
    assert matrix["python"] == promised == ["3.11", "3.12", "3.13", "3.14"]


@pytest.mark.parametrize("page", ["README.md", "README.ko.md"])
def test_the_windows_job_runs_the_lines_of_the_readme_for_powershell(page: str) -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    run = {line for step in steps(workflow) if step.get("shell") == "pwsh" for line in step["run"].splitlines()}
    [lines] = re.findall(r"```powershell\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert set(lines.splitlines()) == run


def test_the_advisories_are_asked_about_every_pin_at_each_change_and_once_a_week() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    assert "make audit" in [step.get("run") for step in steps(workflow)]
    assert {"push", "pull_request", "schedule"} == set(workflow[True])  # YAML takes the word "on" for a truth value
    assert "make audit" in (ROOT / ".ci/run").read_text("utf-8").splitlines()


def test_a_release_is_tested_built_attested_and_published_without_a_token() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))
    done = [step.get("uses", step.get("run", "")) for step in steps(workflow)]
    order = ["make test", "make dist", "actions/attest-build-provenance@", "pypa/gh-action-pypi-publish@", "gh release"]
    places = [next(n for n, step in enumerate(done) if step.startswith(word)) for word in order]
    assert places == sorted(places)
    assert workflow["jobs"]["publish"]["permissions"] == {"id-token": "write"}
