from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from nano_banana_mcp import cli
from tests.support.clients import KEY
from tests.support.install_files import Run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with no host but Cursor and Gemini CLI, which have no configuration yet."""
    folder = tmp_path / "home"
    (folder / ".cursor").mkdir(parents=True)
    (folder / ".gemini").mkdir()
    unwanted = ("XDG_", "CODEX_", "CLAUDE_", "GEMINI_", "VSCODE_", "GOOSE_", "CONFIG_", "DEFAPI_", "NANO_BANANA_")
    for name in os.environ:
        if name.startswith(unwanted):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    if os.name == "nt":  # otherwise the tests would write into real configurations
        monkeypatch.setenv("USERPROFILE", str(folder))
        monkeypatch.setenv("APPDATA", str(folder / "AppData" / "Roaming"))
        monkeypatch.setenv("LOCALAPPDATA", str(folder / "AppData" / "Local"))
    monkeypatch.setenv("DEFAPI_API_KEY", KEY)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line in this process, without a start of the entry. Returns its exit code and its output."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # hundreds of files: the disk is not what is tested

    def do(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        try:
            code = cli.main([*map(str, words), *(["--no-test"] if "install" in words else [])])
        except SystemExit as ended:
            code = int(ended.code or 0)
        output = capsys.readouterr()
        return code, output.out + output.err

    return do
