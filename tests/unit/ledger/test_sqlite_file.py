"""The ledger's file: private, with its folders, and never a link."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nano_banana_mcp.ledger.errors import LedgerError
from nano_banana_mcp.ledger.sqlite import SqliteLedger

pytestmark = pytest.mark.skipif(os.name == "nt", reason="modes and links are POSIX's")


def test_the_file_and_every_new_folder_above_it_are_private(tmp_path: Path) -> None:
    SqliteLedger(tmp_path / "a" / "b" / "c").close()
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_in_the_place_of_the_file_is_refused_and_its_destination_untouched(exists: bool, tmp_path: Path) -> None:
    folder, destination = tmp_path / "state", tmp_path / "other"
    folder.mkdir()
    if exists:
        destination.write_bytes(b"")
        destination.chmod(0o644)
    (folder / "ledger.sqlite3").symlink_to(destination)
    with pytest.raises(LedgerError, match=r"ledger\.sqlite3 is a symbolic link"):
        SqliteLedger(folder)
    assert destination.exists() == exists
    if exists:
        assert (destination.read_bytes(), stat.S_IMODE(destination.stat().st_mode)) == (b"", 0o644)


def test_a_state_folder_that_is_a_link_serves(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "disk")
    SqliteLedger(tmp_path / "state").close()
    assert (tmp_path / "disk" / "ledger.sqlite3").exists()
