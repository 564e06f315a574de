"""A keyring in a file, for processes of the program."""

from __future__ import annotations

from pathlib import Path

KEYRING = """
import json, os
from keyring.backend import KeyringBackend

class FileKeyring(KeyringBackend):
    priority = 1
    path = os.environ["KEYRING_FILE"]

    def _read(self):
        return json.load(open(self.path)) if os.path.exists(self.path) else {}

    def _write(self, values):
        json.dump(values, open(self.path, "w"))

    def get_password(self, service, name):
        return self._read().get(f"{service}/{name}")

    def set_password(self, service, name, password):
        self._write({**self._read(), f"{service}/{name}": password})

    def delete_password(self, service, name):
        values = self._read()
        del values[f"{service}/{name}"]
        self._write(values)
"""


def file_keyring(folder: Path) -> dict[str, str]:
    """The environment of a process whose keyring is ``keyring.json`` in the folder, and its state beside it."""
    (folder / "file_keyring.py").write_text(KEYRING)
    return {
        "PYTHON_KEYRING_BACKEND": "file_keyring.FileKeyring",
        "PYTHONPATH": str(folder),
        "KEYRING_FILE": str(folder / "keyring.json"),
        "NANO_BANANA_STATE_DIR": str(folder / "state"),
    }
