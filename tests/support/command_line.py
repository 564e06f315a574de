"""The command line of the program: in this process, or as a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from nano_banana_mcp import cli
from tests.support.clients import clean_environment
from tests.support.logs import restored_logging


@dataclass(frozen=True)
class Ended:
    """The end of a command."""

    returncode: int
    stdout: str
    stderr: str


def run_here(*arguments: object, stdin: str = "", settings: Mapping[str, str] | None = None, **more: str) -> Ended:
    """Run the command line in this process, without a terminal.

    Args:
        arguments: The words after the program's name.
        stdin: What the command can read.
        settings: Environment variables.
        more: Further environment variables.
    """
    out, err = _Output(), _Output()
    environment = {**clean_environment(), **(settings or {}), **more}
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        redirect_stdout(out),
        redirect_stderr(err),
        restored_logging(),
    ):
        try:
            code = cli.main([str(word) for word in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Ended(code, out.text, err.text)


def run_process(
    *arguments: str, cwd: Path | None = None, settings: Mapping[str, str] | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process; ``settings`` and ``more`` are environment variables."""
    return subprocess.run(
        [sys.executable, "-m", "nano_banana_mcp", *arguments],
        env={**clean_environment(), **(settings or {}), **more},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


class _Output(io.TextIOWrapper):
    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        super().__init__(self._bytes, encoding="utf-8", newline="\n")

    @property
    def text(self) -> str:
        self.flush()
        return self._bytes.getvalue().decode()
