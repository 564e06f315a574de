"""The output of the commands for a new user, before anything is set up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from nano_banana_mcp.cli import COMMANDS
from tests.support.clients import clean_environment
from tests.support.command_line import run_here
from tests.support.paths import ROOT
from tests.support.posix import posix_only


@posix_only
def test_the_bare_command_on_a_terminal_explains_itself_and_links_to_the_key(tmp_path: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "nano_banana_mcp"],
            stdin=follower,
            env={**clean_environment(), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
    finally:
        os.close(follower)
        os.close(leader)
    assert "https://defapi.org" in ended.stdout
    for command in ("demo", "install claude-desktop", "generate", "doctor", "--help"):
        assert f"nano-banana-mcp {command}" in ended.stdout
    assert len(ended.stdout.splitlines()) < 24


def test_every_command_has_a_sentence_and_an_example() -> None:
    for name, command in COMMANDS.items():
        words = run_here(name, "--help").stdout
        assert command.summary in words
        assert f"example:\n  nano-banana-mcp {name}" in words


def test_the_reports_of_a_new_home_say_where_pictures_are_saved_and_where_a_key_is_from(tmp_path: Path) -> None:
    settings = {"HOME": str(tmp_path), "DEFAPI_BASE_URL": "http://127.0.0.1:9", "XDG_STATE_HOME": str(tmp_path)}
    report = run_here("doctor", settings=settings).stdout
    assert "NANO_BANANA_OUTPUT_DIR" in report
    assert re.search(r"^ok +images +0 pictures", report, re.MULTILINE)
    assert "https://defapi.org" in report
    assert len(report.splitlines()) < 30


def test_windows_has_commands_of_its_own_in_the_readme_which_ci_runs() -> None:
    [block] = re.findall(r"```powershell\n(py .*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    lines = [line.strip() for line in workflow.splitlines()]
    assert len(block.splitlines()) >= 3
    for line in block.splitlines():
        assert line in lines


@posix_only
def test_the_set_up_of_make_shows_the_progress_of_the_installer() -> None:
    words = ["make", "--no-print-directory", "--dry-run", "--always-make", "demo"]
    plan = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
    [install] = [line for line in plan.splitlines() if "pip install" in line]
    assert not {"-q", "--quiet"} & set(install.split("pip install")[1].split())
    assert "Setting up .venv" in plan
