"""Faults of the output folder: its disk, and files of other programs."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.saving import output_folder as folder
from nano_banana_mcp.images.saving.output_folder import LINES, OutputFolder
from tests.support.posix import posix_only
from tests.support.saved_images import FACTS, PNG, encoded_images, lines

pytestmark = posix_only  # links, pipes, flags of open


def test_a_truncated_line_spoils_no_other(tmp_path: Path) -> None:
    (tmp_path / LINES).write_text('{"file": "half a li', encoding="utf-8")
    OutputFolder(tmp_path).save(PNG, FACTS)
    OutputFolder(tmp_path).save(PNG, replace(FACTS, number=1))
    half, *whole = (tmp_path / LINES).read_text(encoding="utf-8").splitlines()
    assert half == '{"file": "half a li'
    assert [json.loads(line)["number"] for line in whole] == [0, 1]


def a_link(folder: Path) -> None:
    (folder.parent / "outside.txt").write_text("mine", encoding="utf-8")
    (folder / LINES).symlink_to(folder.parent / "outside.txt")


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / LINES)


def a_folder(folder: Path) -> None:
    (folder / LINES).mkdir()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (a_link, os.strerror(errno.ELOOP)),
        (a_pipe, "it is not a regular file"),
        (a_folder, os.strerror(errno.EISDIR)),
    ],
)
def test_a_lines_file_that_is_no_regular_file_is_logged_and_neither_followed_nor_waited_for(
    make: Callable[[Path], None], why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = OutputFolder(tmp_path / "kept")
    output.make()
    make(output.path)
    assert output.save(PNG, FACTS).exists()
    words = "an image was saved, but not added to pictures.jsonl"
    assert [record.getMessage() for record in caplog.records] == [f"{words}: {why}"]
    assert all(file.read_text(encoding="utf-8") == "mine" for file in tmp_path.glob("*.txt"))
    assert output.read("ta1", 0) is not None


def test_a_partly_written_line_is_logged_and_spoils_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = os.write
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", lambda descriptor, data: written(descriptor, data[:9]))
        OutputFolder(tmp_path).save(PNG, FACTS)
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == [
        "only a part of it could be written"
    ]
    OutputFolder(tmp_path).save(PNG, replace(FACTS, number=1))
    OutputFolder(tmp_path).save(PNG, replace(FACTS, number=2))
    half, *whole = (tmp_path / LINES).read_text(encoding="utf-8").splitlines()
    assert half == '{"file": '
    assert [json.loads(line)["number"] for line in whole] == [1, 2]


NAME = "2026-11-18_11-06-40_a-lighthouse-at-dawn_ta1_0.png"


def test_an_image_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(PNG.data)
    output = OutputFolder(tmp_path / "kept")
    output.make()
    (output.path / NAME).symlink_to(tmp_path / "outside.png")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        output.read("ta1", 0)


def test_a_pipe_is_no_image_and_not_waited_for_even_if_it_offers_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    assert OutputFolder(tmp_path).read("ta1", 0) is None
    offering = os.open(tmp_path / NAME, os.O_RDWR | os.O_NONBLOCK)
    os.write(offering, PNG.data)
    assert OutputFolder(tmp_path).read("ta1", 0) is None
    os.close(offering)


def test_a_folder_with_an_images_name_is_an_error_and_does_not_stay_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / NAME).mkdir()
    opened, descriptors = os.open, []

    def opening(*arguments: Any) -> int:
        descriptors.append(opened(*arguments))
        return descriptors[-1]

    with monkeypatch.context() as calls:
        calls.setattr(os, "open", opening)
        with pytest.raises(IsADirectoryError):
            OutputFolder(tmp_path).read("ta1", 0)
    [descriptor] = descriptors
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_without_a_flag_against_links_the_name_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.delattr(os, "O_NOFOLLOW")
    monkeypatch.setattr(folder, "_NO_LINK", 0)
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    output = OutputFolder(tmp_path)
    path = output.save(PNG, FACTS)
    assert output.read("ta1", 0) is not None
    path.rename(tmp_path / "real.png")
    path.symlink_to(tmp_path / "real.png")
    (tmp_path / LINES).unlink()
    (tmp_path / LINES).symlink_to(tmp_path / "mine.txt")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)) as caught:
        output.read("ta1", 0)
    assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, str(path))
    with pytest.raises(OSError, match=LINES):
        output.check()


def test_temporary_files_of_a_killed_process_are_removed_later(tmp_path: Path) -> None:
    (tmp_path / ".nano-banana-old").write_bytes(b"half")
    (tmp_path / ".nano-banana-new").write_bytes(b"half")
    (tmp_path / ".nano-banana-link").symlink_to("nothing")
    for name, age in ((".nano-banana-old", 7_200), (".nano-banana-new", 60), (".nano-banana-link", 7_200)):
        os.utime(tmp_path / name, (time.time() - age,) * 2, follow_symlinks=False)
    OutputFolder(tmp_path).save(PNG, FACTS)
    assert [path.name for path in encoded_images(tmp_path) if path.name.startswith(".")] == [".nano-banana-new"]


def test_a_temporary_file_that_cannot_be_removed_does_not_prevent_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may be faster, or belong to another user."""
    old, unlink = tmp_path / ".nano-banana-old", Path.unlink
    old.write_bytes(b"half")
    os.utime(old, (0, 0))

    def unlinking(path: Path, missing_ok: bool = False) -> None:
        if path == old:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlinking)
    assert OutputFolder(tmp_path).save(PNG, FACTS).exists()


def no_hard_links(*_: object) -> None:
    raise OSError(errno.EPERM, "no links here")


def test_a_file_system_without_hard_links_serves_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_hard_links)
    folder = OutputFolder(tmp_path)
    path = folder.save(PNG, FACTS)
    with Image.open(path) as opened:
        assert opened.size == (37, 21)
    assert folder.save(PNG, FACTS) == path
    assert len(encoded_images(tmp_path)) == 1


@pytest.mark.parametrize("link", [os.link, no_hard_links], ids=["links", "no links"])
def test_another_process_that_was_faster_is_not_written_over(
    link: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def linking(part: Path, path: Path) -> None:
        path.write_bytes(b"its own")
        link(part, path)

    monkeypatch.setattr(os, "link", linking)
    path = OutputFolder(tmp_path).save(PNG, FACTS)
    assert path.read_bytes() == b"its own"
    assert list(tmp_path.iterdir()) == [path]  # and the line is for the other to add


def fails(*_: object, **__: object) -> int:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def is_interrupted(*_: object, **__: object) -> int:
    raise KeyboardInterrupt


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("fault", [fails, is_interrupted])
def test_an_image_that_cannot_be_given_its_name_is_not_there(
    links: bool, fault: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as disk:
        disk.setattr(os, "link", fault if links else no_hard_links)
        disk.setattr(Path, "replace", fault)
        with pytest.raises((OSError, KeyboardInterrupt), match=r"Input/output error|^$"):
            OutputFolder(tmp_path).save(PNG, FACTS)
    assert list(tmp_path.iterdir()) == []
    assert OutputFolder(tmp_path).save(PNG, FACTS).exists()


@pytest.mark.parametrize("call", ["open", "fsync"])
def test_an_error_of_the_disk_during_the_check_is_raised_as_it_is(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as disk:
        disk.setattr(os, call, fails)
        with pytest.raises(OSError, match="Input/output error"):
            OutputFolder(tmp_path).check()
    assert list(tmp_path.iterdir()) == []


def test_an_image_is_durable_before_it_has_its_name_and_its_name_before_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash of the machine leaves a whole picture, or none: an empty file of that name would never be made good."""
    synced, linked = os.fsync, os.link
    steps: list[int | str] = []

    def syncing(descriptor: int) -> None:
        synced(descriptor)
        steps.append(os.fstat(descriptor).st_ino)

    def linking(part: Path, path: Path) -> None:
        assert part.read_bytes()
        steps.append("named")
        linked(part, path)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "link", linking)
    path = OutputFolder(tmp_path).save(PNG, FACTS)
    assert steps == [path.stat().st_ino, "named", tmp_path.stat().st_ino, (tmp_path / LINES).stat().st_ino]


def test_a_file_system_that_cannot_sync_a_folder_serves_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def opening(path: Path | str, *arguments: int) -> int:
        return fails() if Path(path) == tmp_path else opened(path, *arguments)

    monkeypatch.setattr(os, "open", opening)
    assert OutputFolder(tmp_path).save(PNG, FACTS).exists()
    assert len(lines(tmp_path)) == 1


@pytest.mark.parametrize("moment", ["read", "write"])
def test_a_line_that_another_process_adds_at_that_moment_is_not_written_over(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / LINES).write_text('{"number": 7}\n', encoding="utf-8")
    call = getattr(os, moment)

    def calling(descriptor: int, what: Any) -> Any:
        with (tmp_path / LINES).open("a", encoding="utf-8") as file:
            file.write('{"number": 8}\n')
        return call(descriptor, what)

    monkeypatch.setattr(os, moment, calling)
    OutputFolder(tmp_path).save(PNG, FACTS)
    assert [line["number"] for line in lines(tmp_path)] == [7, 8, 0]


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 64 kB. Not in pytest's folders: one that a killed run leaves behind would break the end of later runs,
    which delete those."""
    mount = Path(tempfile.mkdtemp(prefix="small-disk-"))
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)], capture_output=True, check=False
    )
    if done.returncode != 0:
        mount.rmdir()
        pytest.skip("only root can mount a small disk")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)
    mount.rmdir()


def test_a_full_disk_is_an_error_and_leaves_no_half_image(small_disk: Path) -> None:
    big = EncodedImage(PNG.data.ljust(200_000, b"\0"), "image/png")
    with pytest.raises(OSError, match="No space left"):
        OutputFolder(small_disk).save(big, FACTS)
    assert list(small_disk.iterdir()) == []
    assert OutputFolder(small_disk).save(PNG, FACTS).exists()


def test_a_read_only_disk_is_an_error(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match="Read-only"):
        OutputFolder(small_disk).save(PNG, FACTS)
    with pytest.raises(OSError, match="Read-only"):
        OutputFolder(small_disk).check()


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("")
    for use in (OutputFolder(tmp_path / "kept").check, lambda: OutputFolder(tmp_path / "kept").save(PNG, FACTS)):
        with pytest.raises(OSError, match="Not a directory"):
            use()


def test_a_folder_whose_parent_is_missing_is_an_error(tmp_path: Path) -> None:
    """A disk may not be mounted: what is made in its stead would be lost under it."""
    with pytest.raises(FileNotFoundError):
        OutputFolder(tmp_path / "disk" / "kept").save(PNG, FACTS)
    assert not (tmp_path / "disk").exists()


def test_an_unwritable_lines_file_fails_the_check(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    (tmp_path / LINES).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").touch()
    with pytest.raises(OSError, match=LINES):
        folder.check()
