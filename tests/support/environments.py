"""Virtual environments beside the one of the tests, for what its packages are not to be mixed with."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

from tests.support.in_turn import in_turn
from tests.support.npm import NotToBeHadError

_INSTALL_SECONDS = 300


def python_with(folder: Path, requirements: str, constraints: str = "") -> str:
    """The Python of the environment in ``folder``, made anew first where it is missing or was made of something else.

    Args:
        requirements: What is in it, as pip reads it from a file.
        constraints: Versions of what that needs, likewise.

    Raises:
        NotToBeHadError: pip cannot install it.
    """
    program = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    files = {folder / "requirements.txt": requirements, folder / "constraints.txt": constraints}
    whole = folder / "installed"
    with in_turn(f"{folder.parent.name}-{folder.name}"):
        if not whole.exists() or any(file.read_text(encoding="utf-8") != text for file, text in files.items()):
            venv.create(folder, clear=True, with_pip=True)
            for file, text in files.items():
                file.write_text(text, encoding="utf-8")
            required, constrained = map(str, files)
            _install([str(program), "-m", "pip", "install", "-q", "-r", required, "-c", constrained])
            whole.touch()
    return str(program)


def _install(command: list[str]) -> None:
    try:
        ended = subprocess.run(
            [*command, "--disable-pip-version-check"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotToBeHadError(f"pip did not install it within {_INSTALL_SECONDS} s") from None
    if ended.returncode != 0:
        said = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")]
        raise NotToBeHadError(f"pip cannot install it: {' '.join(said[:2])[:200]}")
