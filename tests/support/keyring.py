"""A keyring in a file, for this process and for processes of the program."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest


class KeyringFile:
    """Passwords in a JSON file."""

    path: Path

    def get_password(self, service: str, name: str) -> str | None:
        return self._read().get(f"{service}/{name}")

    def set_password(self, service: str, name: str, password: str) -> None:
        self.path.write_text(json.dumps({**self._read(), f"{service}/{name}": password}))

    def delete_password(self, service: str, name: str) -> None:
        values = self._read()
        del values[f"{service}/{name}"]
        self.path.write_text(json.dumps(values))

    def _read(self) -> dict[str, str]:
        values: dict[str, str] = json.loads(self.path.read_text()) if self.path.exists() else {}
        return values


MODULE = f"""
import json, os
from pathlib import Path
from keyring.backend import KeyringBackend

{inspect.getsource(KeyringFile)}

class FileKeyring(KeyringFile, KeyringBackend):
    priority = 1
    path = Path(os.environ["KEYRING_FILE"])
"""


def file_keyring(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Make ``keyring.json`` in the folder the keyring of this process.

    Returns:
        The environment of a process with the same keyring, and its state beside it.
    """
    here = KeyringFile()
    here.path = folder / "keyring.json"
    monkeypatch.setattr("keyring.get_keyring", lambda: here)
    for name in ("get_password", "set_password", "delete_password"):
        monkeypatch.setattr(f"keyring.{name}", getattr(here, name))
    (folder / "file_keyring.py").write_text(MODULE)
    return {
        "PYTHON_KEYRING_BACKEND": "file_keyring.FileKeyring",
        "PYTHONPATH": str(folder),
        "KEYRING_FILE": str(here.path),
        "NANO_BANANA_STATE_DIR": str(folder / "state"),
    }
