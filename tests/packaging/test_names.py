"""The files for operators name nothing that does not exist."""

from __future__ import annotations

import pytest

from nano_banana_mcp.cli import _parser
from tests.packaging.known import FILES, PENDING_COMMANDS, PENDING_SETTINGS, ROOT, SETTINGS, commands_in, settings_in


def takes(arguments: list[str]) -> bool:
    """Whether the command line understands them."""
    try:
        _parser().parse_args(arguments)
    except SystemExit as ended:
        return ended.code == 0
    return True


def is_pending(arguments: list[str]) -> bool:
    return any(arguments[:2] == list(pending[:2]) for pending in PENDING_COMMANDS)


@pytest.mark.parametrize("file", FILES)
def test_every_setting_that_is_named_exists(file: str) -> None:
    named = settings_in((ROOT / file).read_text(encoding="utf-8"))
    assert named <= SETTINGS | PENDING_SETTINGS


@pytest.mark.parametrize("file", ["Dockerfile", "compose.yaml", "packaging/nano-banana-mcp.service", "docs/deploy.md"])
def test_every_setting_that_is_set_for_the_server_is_found_by_this_test(file: str) -> None:
    """So that the test above cannot pass by finding nothing."""
    assert settings_in((ROOT / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", ["compose.yaml", "packaging/nano-banana-mcp.service", "docs/deploy.md"])
def test_every_command_that_is_named_is_taken(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    commands = list(commands_in((ROOT / file).read_text(encoding="utf-8")))
    assert commands
    for arguments in commands:
        assert is_pending(arguments) or takes(arguments), f"{arguments}: {capsys.readouterr().err}"


def test_what_is_listed_as_being_built_does_not_exist_yet() -> None:
    """Remove from tests/packaging/known.py what this finds: the tests above then hold it."""
    assert not PENDING_SETTINGS & SETTINGS
    assert not [pending for pending in PENDING_COMMANDS if takes(list(pending))]
