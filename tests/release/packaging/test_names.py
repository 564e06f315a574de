"""The files for operators name nothing that does not exist."""

from __future__ import annotations

import re

import httpx
import pytest
import yaml

from nano_banana_mcp.cli import build_parser
from tests.release.packaging.documented_names import FILES, SETTINGS, commands_in, longest_end_seconds, settings_in
from tests.support.http_server import served
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def takes(arguments: list[str]) -> bool:
    """Whether the command line understands them."""
    try:
        build_parser().parse_args(arguments)
    except SystemExit as ended:
        return ended.code == 0
    return True


@pytest.mark.parametrize("file", FILES)
def test_every_setting_that_is_named_exists(file: str) -> None:
    named = settings_in((ROOT / file).read_text(encoding="utf-8"))
    assert named <= SETTINGS


@pytest.mark.parametrize("file", ["Dockerfile", "compose.yaml", "packaging/nano-banana-mcp.service", "docs/deploy.md"])
def test_every_setting_that_is_set_for_the_server_is_found_by_this_test(file: str) -> None:
    """So that the test above cannot pass by finding nothing."""
    assert settings_in((ROOT / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", ["compose.yaml", "packaging/nano-banana-mcp.service", "docs/deploy.md"])
def test_every_command_that_is_named_is_taken(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    commands = list(commands_in((ROOT / file).read_text(encoding="utf-8")))
    assert commands
    for arguments in commands:
        assert takes(arguments), f"{arguments}: {capsys.readouterr().err}"


def test_a_server_is_given_as_long_to_end_as_it_may_take() -> None:
    given = re.findall(r"--stop-timeout (\d+)|give it (\d+) s", PAGE)
    assert len(given) == 2
    assert all(int(flag or words) >= longest_end_seconds() for flag, words in given)


def test_every_metric_that_is_named_is_one_of_the_servers() -> None:
    named = {re.sub(r"_bucket$", "", name) for name in re.findall(r"\bnano_banana_[a-z_]+\b(?=[{\[])", PAGE)}
    assert len(named) >= 4
    with served("--sandbox") as server:
        answer = httpx.get(f"{server.root}/metrics")
    assert named <= set(re.findall(r"^# TYPE (\S+)", answer.text, re.MULTILINE))


def test_the_samples_for_compose_and_prometheus_are_well_formed() -> None:
    override, configuration, rules = (
        yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    )
    assert set(override["services"]) <= set(yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"])
    assert [job["job_name"] for job in configuration["scrape_configs"]] == ["nano-banana"]
    [group] = rules["groups"]
    for rule in group["rules"]:
        assert rule["alert"].startswith("NanoBanana")
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert rule["annotations"]["summary"].endswith(".")
