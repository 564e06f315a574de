"""The folder that pictures are kept in."""

from __future__ import annotations

import concurrent.futures
import errno
import hashlib
import io
import json
import multiprocessing
import os
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from nano_banana_mcp.images.folder import LINES, PictureFolder
from nano_banana_mcp.images.metadata import Facts
from nano_banana_mcp.images.picture import Picture
from tests.support.posix import posix_only

from .samples import drawn

FACTS = Facts(
    task_id="ta1",
    number=0,
    created_at=1_795_000_000.0,
    prompt="a lighthouse\nat dawn",
    model="google/gempix2",
    url="https://example.com/a.png",
    credits="0.500000",
)
PNG = Picture(drawn("PNG"), "image/png")


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / LINES).read_text(encoding="utf-8").splitlines()]


def pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != LINES)


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    (tmp_path / LINES).write_text('{"file": "half a li', encoding="utf-8")
    PictureFolder(tmp_path).save(PNG, FACTS)
    PictureFolder(tmp_path).save(PNG, replace(FACTS, number=1))
    half, *whole = (tmp_path / LINES).read_text(encoding="utf-8").splitlines()
    assert half == '{"file": "half a li'
    assert [json.loads(line)["number"] for line in whole] == [0, 1]


def test_a_picture_is_saved_with_a_line_about_it(tmp_path: Path) -> None:
    path = PictureFolder(tmp_path / "kept").save(PNG, FACTS)
    assert path == tmp_path / "kept" / "2026-11-18_11-06-40_a-lighthouse-at-dawn_ta1_0.png"
    assert pictures(tmp_path / "kept") == [path]
    assert lines(tmp_path / "kept") == [
        {
            "file": path.name,
            "prompt": "a lighthouse\nat dawn",
            "model": "google/gempix2",
            "task_id": "ta1",
            "number": 0,
            "url": "https://example.com/a.png",
            "credits": "0.500000",
            "created_at": "2026-11-18T11:06:40Z",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
    ]


@posix_only
def test_a_new_folder_is_its_owners_alone_and_its_files_are_not_executable(tmp_path: Path) -> None:
    path = PictureFolder(tmp_path / "kept").save(PNG, FACTS)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o644 & ~umask()


def umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(("kind", "extension"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("GIF", "gif")])
def test_the_extension_is_that_of_the_bytes(tmp_path: Path, kind: str, extension: str) -> None:
    picture = Picture(drawn(kind), f"image/{kind.lower()}")
    path = PictureFolder(tmp_path).save(picture, FACTS)
    assert path.suffix == f".{extension}"
    with Image.open(path) as opened, Image.open(io.BytesIO(picture.data)) as before:
        assert opened.format == kind
        assert opened.tobytes() == before.tobytes()


def test_malformed_bytes_are_kept_as_they_are(tmp_path: Path) -> None:
    for number, data in enumerate((b"\x89PNG\r\n\x1a\n" + b"rubbish" * 9, b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBP")):
        kind = ("image/png", "image/jpeg", "image/webp")[number]
        path = PictureFolder(tmp_path).save(Picture(data, kind), replace(FACTS, number=number))
        assert path.read_bytes() == data


def test_a_picture_is_saved_once_under_whatever_time_and_words(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path)
    first = folder.save(PNG, FACTS)
    again = folder.save(PNG, replace(FACTS, created_at=0.0, prompt="others"))
    assert again == first
    assert len(lines(tmp_path)) == 1
    assert folder.save(PNG, replace(FACTS, number=1)) != first


def test_a_picture_that_its_owner_has_changed_is_not_written_to(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path)
    path = folder.save(PNG, FACTS)
    path.write_bytes(b"painted over")
    assert folder.save(PNG, FACTS) == path
    assert path.read_bytes() == b"painted over"


def save_in_another_process(folder: str, number: int) -> str:
    return str(PictureFolder(Path(folder)).save(PNG, replace(FACTS, number=number)))


def test_many_processes_save_each_picture_once_and_their_lines_do_not_mix(tmp_path: Path) -> None:
    with concurrent.futures.ProcessPoolExecutor(6, mp_context=multiprocessing.get_context("spawn")) as pool:
        paths = list(pool.map(save_in_another_process, [str(tmp_path)] * 120, sorted([*range(20)] * 6)))
    assert len(set(paths)) == 20
    assert {str(path) for path in pictures(tmp_path)} == set(paths)
    assert sorted(str(line["number"]) for line in lines(tmp_path)) == sorted(map(str, range(20)))


def test_a_line_stays_short_whatever_the_prompt_is(tmp_path: Path) -> None:
    PictureFolder(tmp_path).save(PNG, replace(FACTS, prompt="\0\x1b" + "등" * 30_000))
    assert len((tmp_path / LINES).read_bytes()) < 4_000
    assert str(lines(tmp_path)[0]["prompt"]).endswith("…")


@posix_only
def test_links_and_pipes_in_the_folder_are_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / LINES).symlink_to(outside)
    name = "2026-11-18_11-06-40_a-lighthouse-at-dawn_ta1_0.png"
    (kept / name).symlink_to(outside)
    PictureFolder(kept).save(PNG, FACTS)
    PictureFolder(kept).save(PNG, replace(FACTS, number=1))
    assert outside.read_text() == "mine"
    assert PictureFolder(kept).read("ta1", 1) is not None
    with pytest.raises(OSError, match=r"symbolic links|Too many levels"):
        PictureFolder(kept).read("ta1", 0)
    (kept / LINES).unlink()
    os.mkfifo(kept / LINES)
    PictureFolder(kept).save(PNG, replace(FACTS, number=2))  # returns, and the picture is there
    assert PictureFolder(kept).read("ta1", 2) is not None


def test_what_a_killed_process_left_is_swept_away_later(tmp_path: Path) -> None:
    for name, age in ((".nano-banana-old", 7_200), (".nano-banana-new", 60)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    PictureFolder(tmp_path).save(PNG, FACTS)
    assert [path.name for path in pictures(tmp_path) if path.name.startswith(".")] == [".nano-banana-new"]


def test_a_file_system_without_hard_links_serves_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    folder = PictureFolder(tmp_path)
    path = folder.save(PNG, FACTS)
    with Image.open(path) as opened:
        assert opened.size == (37, 21)
    assert folder.save(PNG, FACTS) == path
    assert len(pictures(tmp_path)) == 1


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


@posix_only
def test_a_full_disk_is_an_error_and_leaves_no_half_picture(small_disk: Path) -> None:
    big = Picture(PNG.data.ljust(200_000, b"\0"), "image/png")
    with pytest.raises(OSError, match="No space left"):
        PictureFolder(small_disk).save(big, FACTS)
    assert list(small_disk.iterdir()) == []
    assert PictureFolder(small_disk).save(PNG, FACTS).exists()


@posix_only
def test_a_read_only_disk_is_an_error(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match="Read-only"):
        PictureFolder(small_disk).save(PNG, FACTS)
    with pytest.raises(OSError, match="Read-only"):
        PictureFolder(small_disk).check()


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("")
    for use in (PictureFolder(tmp_path / "kept").check, lambda: PictureFolder(tmp_path / "kept").save(PNG, FACTS)):
        with pytest.raises(OSError, match="Not a directory"):
            use()


def test_a_folder_whose_own_place_is_missing_is_an_error(tmp_path: Path) -> None:
    """A disk may not be mounted: what is made in its stead would be lost under it."""
    with pytest.raises(FileNotFoundError):
        PictureFolder(tmp_path / "disk" / "kept").save(PNG, FACTS)
    assert not (tmp_path / "disk").exists()


def test_a_folder_that_vanished_is_made_again(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path / "kept")
    folder.save(PNG, FACTS).unlink()
    (tmp_path / "kept" / LINES).unlink()
    (tmp_path / "kept").rmdir()
    assert folder.save(PNG, FACTS).exists()


def test_a_picture_that_is_kept_can_be_read_again(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path)
    assert folder.read("ta1", 0) is None
    folder.save(PNG, FACTS)
    kept = folder.read("ta1", 0)
    assert kept is not None
    assert kept.mime_type == "image/png"
    assert PictureFolder(tmp_path / "none").read("ta1", 0) is None


def test_looking_whether_it_can_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path / "kept")
    folder.check()
    assert list(folder.path.iterdir()) == []
    (folder.path / LINES).write_text("a line\n")
    folder.check()
    assert (folder.path / LINES).read_text() == "a line\n"
    assert [file.name for file in folder.path.iterdir()] == [LINES]


@posix_only
def test_lines_that_cannot_be_written_are_found_when_looking(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path)
    (tmp_path / LINES).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").touch()
    with pytest.raises(OSError, match=LINES):
        folder.check()
