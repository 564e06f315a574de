from __future__ import annotations

import os
from pathlib import Path

import pytest

from nano_banana_mcp.cli import _parser
from nano_banana_mcp.commands import install
from nano_banana_mcp.settings import load_settings
from tests.support.clients import KEY
from tests.support.install_files import Run

PARSER = _parser()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which no host has been."""
    folder = tmp_path / "home"
    folder.mkdir()
    unwanted = ("XDG_", "CODEX_", "CLAUDE_", "GEMINI_", "VSCODE_", "GOOSE_", "CONFIG_", "DEFAPI_", "NANO_BANANA_")
    for name in os.environ:
        if name.startswith(unwanted):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    if os.name == "nt":  # or the tests would write into the configurations of whoever runs them
        monkeypatch.setenv("USERPROFILE", str(folder))
        monkeypatch.setenv("APPDATA", str(folder / "AppData" / "Roaming"))
        monkeypatch.setenv("LOCALAPPDATA", str(folder / "AppData" / "Local"))
    monkeypatch.setenv("DEFAPI_API_KEY", KEY)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line in this process. Returns its exit code and all that it said."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # hundreds of files: the disk is not what is tested

    def do(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        arguments = PARSER.parse_args([str(word) for word in words])
        code = install.run(load_settings(arguments.env_file, sandbox=arguments.sandbox), arguments)
        said = capsys.readouterr()
        return code, said.out + said.err

    return do
