"""Files are whole and private, or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nano_banana_mcp.common.files import atomic_write, display_path, native_path, private_folder, reason_of


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"first", b"second"):
        atomic_write(path, data)
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file_and_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and links")
def test_files_and_folders_are_the_owners_and_a_link_is_replaced(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "a" / "b")
    (tmp_path / "target").write_bytes(b"target")
    path = folder / "file"
    path.symlink_to(tmp_path / "target")
    atomic_write(path, b"data")
    assert not path.is_symlink()
    assert (tmp_path / "target").read_bytes() == b"target"
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["plain.png", "새벽.png", "é\udcff.png"])
def test_a_path_from_a_message_and_back_is_the_same(name: str) -> None:
    assert native_path(name) == name
    assert display_path(native_path(name)) == name.replace("\udcff", "\ufffd")


def test_an_error_of_the_system_has_a_readable_reason() -> None:
    assert reason_of(FileNotFoundError(2, "No such file or directory")) == "No such file or directory"
    assert reason_of(OSError("it is full")) == "it is full"
    assert reason_of(OSError()) == "the system gives no reason"
