"""The folder of stored images, while other processes use it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.media.image_folder import ImageFolder, StoredImage
from tests.support.image_samples import png

PNG = EncodedImage(png(), "image/png")


class PausedBeforeItsEntry(ImageFolder):
    """Another process, between its bytes and its index file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.has_bytes, self.may_continue = threading.Event(), threading.Event()

    def _index_path(self, generation_id: str, number: int) -> Path:
        self.has_bytes.set()
        assert self.may_continue.wait(60)
        return super()._index_path(generation_id, number)


class CallsBackAfterScan(ImageFolder):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.after_scan: Callable[[], object] = lambda: None

    def entries(self) -> Iterator[StoredImage]:
        entries = list(super().entries())
        self.after_scan()
        return iter(entries)


@pytest.mark.parametrize("is_deleted", [True, False], ids=["delete", "sweep"])
def test_bytes_that_another_process_stores_during_a_scan_are_not_deleted(tmp_path: Path, is_deleted: bool) -> None:
    folder, other = CallsBackAfterScan(tmp_path), PausedBeforeItsEntry(tmp_path)
    folder.store("in-old", 0, PNG, is_only_copy=True, stored_at=1.0)
    [entry] = folder.entries()
    storing = threading.Thread(
        target=other.store, args=("in-new", 0, PNG), kwargs={"is_only_copy": True, "stored_at": 2.0}
    )
    storing.start()
    assert other.has_bytes.wait(60)

    def finish_storing() -> None:
        other.may_continue.set()
        storing.join(60)

    folder.after_scan = finish_storing
    if is_deleted:
        folder.delete("in-old")
    else:
        folder.drop(entry)
        folder.sweep({entry.sha256})
    assert not folder.has("in-old", 0)
    assert folder.find("in-new", 0) == PNG


def test_bytes_that_were_deleted_before_their_entry_was_written_are_written_again(tmp_path: Path) -> None:
    folder, other = ImageFolder(tmp_path), PausedBeforeItsEntry(tmp_path)
    folder.store("in-old", 0, PNG, is_only_copy=True, stored_at=1.0)
    storing = threading.Thread(
        target=other.store, args=("in-new", 0, PNG), kwargs={"is_only_copy": True, "stored_at": 2.0}
    )
    storing.start()
    assert other.has_bytes.wait(60)
    folder.delete("in-old")
    assert folder.size() == (0, 0)
    other.may_continue.set()
    storing.join(60)
    assert folder.find("in-new", 0) == PNG
