"""Files that change while they are opened: only the checked file is read, and nothing hangs or stays open."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nano_banana_mcp.images.local import local_files
from nano_banana_mcp.images.local.local_files import FileRefused, LocalFiles
from tests.support.image_samples import INSIDE
from tests.support.posix import posix_only

pytestmark = posix_only  # links, pipes, flags of open


def assert_closed(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


@pytest.fixture
def swapping(allowed: Path) -> Iterator[None]:
    """A folder that is a real one and a link to the outside by turns, as fast as can be; and a file likewise."""
    real, link = allowed / "real", allowed / "link"
    real.mkdir()
    (real / "secret.png").write_bytes(INSIDE)
    link.symlink_to(allowed.parent / "allowed-evil")
    (allowed / "file").write_bytes(INSIDE)
    (allowed / "to-file").symlink_to(allowed.parent / "secret.png")
    stop = threading.Event()

    def swap(one: Path, other: Path, name: Path) -> None:
        while not stop.is_set():
            for item in (one, other):
                item.rename(name)
                name.rename(item)

    pairs = [(real, link, allowed / "folder"), (allowed / "file", allowed / "to-file", allowed / "x.png")]
    threads = [threading.Thread(target=swap, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


@pytest.mark.slow
@pytest.mark.usefixtures("swapping")
def test_a_race_of_links_leaks_nothing(files: LocalFiles, allowed: Path) -> None:
    read = refused = leaked = tries = 0
    while tries < 1_000 or not (read and refused):  # it was a race
        tries += 1
        for reference in (allowed / "folder" / "secret.png", allowed / "x.png"):
            try:
                data = files.read(str(reference)).data
            except FileRefused:
                refused += 1
                continue
            read += 1
            leaked += data != INSIDE
    assert leaked == 0


LINK = "its path contains a link, or a component that is not a folder"
CHANGING = "it is being changed right now"


def a_link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "secret.png")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.mkdir()


def nothing(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize(
    ("become", "walking", "checking"),
    [
        (a_link, LINK, LINK),
        (nothing, "there is no such file", "there is no such file"),
        (a_folder, "Is a directory", CHANGING),
        (a_pipe, "it is not a regular file", CHANGING),
    ],
)
@pytest.mark.parametrize("walks", [True, False], ids=["walk", "checked"])
def test_a_file_that_is_replaced_after_its_check_is_refused_and_nothing_waits_or_stays_open(
    walks: bool,
    become: Callable[[Path], None],
    walking: str,
    checking: str,
    files: LocalFiles,
    allowed: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local_files, "_WALKS", walks)
    victim, opened = allowed / "cat.png", os.open
    descriptors: list[int] = []

    def opening(path: Path | str, flags: int, *, dir_fd: int | None = None) -> int:
        if Path(path).name == victim.name:
            victim.unlink()
            become(victim)
        descriptors.append(opened(path, flags, dir_fd=dir_fd))
        return descriptors[-1]

    monkeypatch.setattr(os, "open", opening)
    with pytest.raises(FileRefused) as caught:
        files.read(str(victim))
    monkeypatch.undo()
    assert caught.value.message == f"The file cat.png cannot be read: {walking if walks else checking}."
    assert_closed(descriptors)


MOMENTS = ["before it is opened", "after it was opened", "while it is opened, and back", "and is gone then"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_without_the_walk_a_file_that_changes_meanwhile_is_refused_and_nothing_stays_open(
    moment: str, allowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_files, "_WALKS", False)
    victim, other, aside = allowed / "cat.png", allowed / "other.png", allowed / "aside.png"
    other.write_bytes(victim.read_bytes())
    opened = os.open
    descriptors: list[int] = []

    def opening(path: Path, flags: int) -> int:
        if moment == "while it is opened, and back":
            victim.rename(aside)
        if moment in ("before it is opened", "while it is opened, and back"):
            other.replace(victim)
        descriptors.append(opened(path, flags))
        if moment == "while it is opened, and back":
            aside.replace(victim)
        if moment == "after it was opened":
            other.replace(victim)
        if moment == "and is gone then":
            victim.unlink()
        return descriptors[-1]

    monkeypatch.setattr(os, "open", opening)
    with pytest.raises(FileRefused) as caught:
        LocalFiles([allowed]).read(str(victim))
    monkeypatch.undo()
    assert caught.value.message == "The file cat.png cannot be read: it is being changed right now."
    assert_closed(descriptors)
