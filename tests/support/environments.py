"""Virtual environments for packages that must not be mixed with those of the tests."""

from __future__ import annotations

import os
import venv
from pathlib import Path

from tests.support.in_turn import in_turn
from tests.support.npm import install

_INSTALL_SECONDS = 300


def python_with(folder: Path, requirements: str, constraints: str = "") -> str:
    """The Python of the environment in ``folder``, made anew first where it is missing or was made of something else.

    Args:
        requirements: What is in it, as pip reads it from a file.
        constraints: Versions of what that needs, likewise.

    Raises:
        PackageUnavailableError: pip cannot install it.
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
            pip = [str(program), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            install([*pip, "-r", required, "-c", constrained], seconds=_INSTALL_SECONDS, name="pip", marks="ERROR")
            whole.touch()
    return str(program)
