"""Every example runs as a person would run it, on the sandbox."""

import subprocess
import sys

import pytest

from tests.support.clients import clean_environment
from tests.support.paths import ROOT

EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(file.name for file in EXAMPLES.glob("*.py") if "__main__" in file.read_text(encoding="utf-8"))


def test_there_are_the_examples_that_the_readme_names() -> None:
    assert SCRIPTS == ["edit_a_picture.py", "many_at_once.py", "pydantic_ai_agent.py", "three_tools.py"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_example_makes_its_images(script: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / script],
        env={**clean_environment(), "NANO_BANANA_SANDBOX_SECONDS": "0.5"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("/files/") >= (4 if script == "many_at_once.py" else 1)
