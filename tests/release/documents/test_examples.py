"""Every example runs as a person would run it, on the sandbox."""

from __future__ import annotations

import os
import runpy
import sys
from contextlib import ExitStack
from unittest import mock

import pytest

from tests.support.clients import KEY, clean_environment
from tests.support.paths import ROOT
from tests.support.sandbox import sandbox_thread

EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(file.name for file in EXAMPLES.glob("*.py") if "__main__" in file.read_text(encoding="utf-8"))


def test_there_are_the_examples_that_the_readme_names() -> None:
    assert SCRIPTS == ["edit_a_picture.py", "many_at_once.py", "pydantic_ai_agent.py", "three_tools.py"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_example_makes_its_images(
    script: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(sys, "argv", [script])
    with ExitStack() as stack:
        settings = {"NANO_BANANA_SANDBOX_SECONDS": "0.5"}
        if script != "three_tools.py":  # which shows how they start where there is no key
            sandbox = stack.enter_context(sandbox_thread(seconds=0.5))
            settings = {"DEFAPI_API_KEY": KEY, "DEFAPI_BASE_URL": sandbox.url}
        stack.enter_context(mock.patch.dict(os.environ, {**clean_environment(), **settings}, clear=True))
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    assert capfd.readouterr().out.count("/files/") >= (4 if script == "many_at_once.py" else 1)
