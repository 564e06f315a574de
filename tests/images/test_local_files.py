"""Files that somebody else names: nothing outside of the allowed folders is read, and nothing hangs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from nano_banana_mcp.images import local_files
from nano_banana_mcp.images.errors import NotAPicture, PictureError, PictureTooLarge
from nano_banana_mcp.images.local_files import SETTING, FileRefused, LocalFiles
from tests.support.posix import posix_only

from .samples import drawn, large_png, png

INSIDE, OUTSIDE = drawn("PNG"), drawn("PNG", (11, 11))


@pytest.fixture(params=[pytest.param("walk", marks=posix_only), "checked"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of opening: of systems that open relative to a folder, and of those that do not."""
    monkeypatch.setattr(local_files, "_WALKS", request.param == "walk")
    return str(request.param)


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """An allowed folder with pictures in it, and a disallowed one beside it that has the same prefix."""
    folder = tmp_path / "allowed"
    (folder / "sub").mkdir(parents=True)
    (folder / "cat.png").write_bytes(INSIDE)
    (folder / "sub" / "새벽 등대.png").write_bytes(INSIDE)
    evil = tmp_path / "allowed-evil"
    evil.mkdir()
    (evil / "secret.png").write_bytes(OUTSIDE)
    (tmp_path / "secret.png").write_bytes(OUTSIDE)
    return folder


@pytest.fixture
def files(allowed: Path) -> LocalFiles:
    return LocalFiles([allowed])


@pytest.mark.parametrize(
    "spelling",
    [
        "{allowed}/cat.png",
        "{allowed}//cat.png",
        "{allowed}/./cat.png",
        "file://{allowed}/cat.png",
        "file:{allowed}/cat.png",
        "FILE://localhost{allowed}/cat.png",
        "file://{allowed}/%63at.png",
        "{allowed}/sub/새벽 등대.png",
        "file://{allowed}/sub/{quoted}",
    ],
)
@posix_only
def test_a_picture_inside_is_read_however_its_path_is_spelt(files: LocalFiles, allowed: Path, spelling: str) -> None:
    reference = spelling.format(allowed=allowed, quoted=quote("새벽 등대.png"))
    found = files.read(reference)
    assert (found.data, found.mime_type) == (INSIDE, "image/png")


OUTSIDES = [
    "{allowed}/../secret.png",
    "{allowed}/sub/../../secret.png",
    "{allowed}/sub/../cat.png",
    "{allowed}-evil/secret.png",
    "{allowed}-evil/nothing.png",
    "{allowed}",
    "{allowed}/",
    "{parent}/secret.png",
    "{parent}/nothing.png",
    "/etc/passwd",
    "/nothing/at/all.png",
    "/proc/self/environ",
    "/dev/zero",
    "/",
    "/{allowed}/cat.png",
    "file://{allowed}/%2e%2e/secret.png",
    "file://{allowed}/..%2fsecret.png",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("spelling", OUTSIDES)
@posix_only
def test_what_is_outside_is_refused_in_the_same_words_whether_it_exists_or_not(
    files: LocalFiles, allowed: Path, spelling: str
) -> None:
    with pytest.raises(FileRefused) as caught:
        files.read(spelling.format(allowed=allowed, parent=allowed.parent))
    assert (
        caught.value.message == "This path is outside of the folders that this server may read reference pictures from."
    )
    assert str(allowed) in caught.value.hint


@pytest.mark.parametrize(
    "reference",
    [
        "cat.png",
        "./cat.png",
        "~/cat.png",
        "C:\\allowed\\cat.png",
        "\\\\host\\share\\cat.png",
        "file://host{allowed}/cat.png",
        "file://{allowed}/cat.png?x",
        "file://{allowed}/cat.png#x",
        "file:cat.png",
        "file:",
        "file://[",
        "{allowed}/cat.png\0.txt",
        "file://{allowed}/cat.png%00",
        "{allowed}/\ud800.png",
    ],
)
@posix_only
def test_what_is_no_absolute_path_is_refused(files: LocalFiles, allowed: Path, reference: str) -> None:
    with pytest.raises(FileRefused, match="no absolute path"):
        files.read(reference.format(allowed=allowed))


def link_file(allowed: Path) -> str:
    (allowed / "x.png").symlink_to(allowed.parent / "secret.png")
    return "x.png"


def link_file_inside(allowed: Path) -> str:
    (allowed / "x.png").symlink_to(allowed / "cat.png")
    return "x.png"


def link_folder(allowed: Path) -> str:
    (allowed / "way").symlink_to(allowed.parent / "allowed-evil")
    return "way/secret.png"


def link_folder_in_the_middle(allowed: Path) -> str:
    (allowed.parent / "allowed-evil" / "deep").mkdir()
    (allowed.parent / "allowed-evil" / "deep" / "secret.png").write_bytes(OUTSIDE)
    (allowed / "sub" / "way").symlink_to("../../allowed-evil")
    return "sub/way/deep/secret.png"


def link_to_itself(allowed: Path) -> str:
    (allowed / "x.png").symlink_to("x.png")
    return "x.png"


def link_to_proc(allowed: Path) -> str:
    (allowed / "self").symlink_to("/proc/self")
    return "self/environ"


def pipe(allowed: Path) -> str:
    os.mkfifo(allowed / "x.png")
    return "x.png"


def device(allowed: Path) -> str:
    try:
        os.mknod(allowed / "x.png", 0o020666, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("only root can make a device")
    return "x.png"


def folder(allowed: Path) -> str:
    (allowed / "x.png").mkdir()
    return "x.png"


def hard_link(allowed: Path) -> str:
    os.link(allowed.parent / "secret.png", allowed / "x.png")
    return "x.png"


def no_file(allowed: Path) -> str:
    return "x.png"


def no_folder(allowed: Path) -> str:
    return "cat.png/x.png"


@pytest.mark.parametrize(
    "make",
    [
        link_file,
        link_file_inside,
        link_folder,
        link_folder_in_the_middle,
        link_to_itself,
        link_to_proc,
        pipe,
        device,
        folder,
        hard_link,
        no_file,
        no_folder,
    ],
    ids=lambda make: make.__name__,
)
@posix_only
def test_what_is_no_plain_file_inside_is_refused_at_once(
    files: LocalFiles, allowed: Path, make: Callable[[Path], str]
) -> None:
    reference = str(allowed / make(allowed))
    began = time.monotonic()
    with pytest.raises(FileRefused, match=r"cannot be read"):
        files.read(reference)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotAPicture),
        (b"dear diary", NotAPicture),
        (b"<html></html>", NotAPicture),
        (b"\x00" * 600, NotAPicture),
        (png(30_000, 30_000), PictureTooLarge),
        (large_png(20 * 1024 * 1024 + 1), PictureTooLarge),
    ],
    ids=["empty", "text", "html", "zeros", "pixels", "bytes"],
)
def test_what_is_no_picture_is_refused_whatever_its_name_says(
    files: LocalFiles, allowed: Path, data: bytes, error: type[PictureError]
) -> None:
    (allowed / "x.png").write_bytes(data)
    with pytest.raises(error, match=r"x\.png"):
        files.read(str(allowed / "x.png"))


def test_a_huge_file_is_refused_before_it_is_read(files: LocalFiles, allowed: Path) -> None:
    with (allowed / "x.png").open("wb") as file:
        file.write(INSIDE)
        file.truncate(10**12)
    with pytest.raises(PictureTooLarge):
        files.read(str(allowed / "x.png"))


@posix_only
def test_a_name_that_is_no_utf_8_is_read_by_its_uri(files: LocalFiles, allowed: Path) -> None:
    (allowed / os.fsdecode(b"caf\xe9.png")).write_bytes(INSIDE)
    assert files.read(f"file://{allowed}/caf%E9.png").data == INSIDE
    with pytest.raises(FileRefused) as caught:
        files.read(f"file://{allowed}/caf%E8.png")
    str(caught.value).encode()  # words that can be sent


@posix_only
def test_the_allowed_folder_itself_may_be_a_link_and_be_called_by_either_name(allowed: Path) -> None:
    other = allowed.parent / "other"
    other.symlink_to(allowed)
    files = LocalFiles([other])
    assert files.read(str(other / "cat.png")).data == INSIDE
    assert files.read(str(allowed / "cat.png")).data == INSIDE
    with pytest.raises(FileRefused):
        files.read(str(allowed.parent / "secret.png"))


def test_where_no_folder_is_allowed_the_words_say_exactly_how_to_allow_one(allowed: Path) -> None:
    with pytest.raises(FileRefused) as caught:
        LocalFiles([]).read(str(allowed / "cat.png"))
    assert f"{SETTING}={allowed}" in caught.value.hint


@pytest.fixture
def swapping(allowed: Path, way: str) -> Iterator[None]:
    """A folder that is a real one and a link to the outside by turns, as fast as can be; and a file likewise."""
    if way != "walk":
        pytest.skip("only the walk is promised to be safe against a race")
    real, link = allowed / "real", allowed / "link"
    real.mkdir()
    (real / "secret.png").write_bytes(INSIDE)
    link.symlink_to(allowed.parent / "allowed-evil")
    (allowed / "file").write_bytes(INSIDE)
    (allowed / "to-file").symlink_to(allowed.parent / "secret.png")
    stop = threading.Event()

    def swap(one: Path, other: Path, name: Path) -> None:
        while not stop.is_set():
            for each in (one, other):
                each.rename(name)
                name.rename(each)

    pairs = [(real, link, allowed / "folder"), (allowed / "file", allowed / "to-file", allowed / "x.png")]
    threads = [threading.Thread(target=swap, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("swapping")
def test_a_race_of_links_leaks_nothing(files: LocalFiles, allowed: Path) -> None:
    read = refused = leaked = 0
    end = time.monotonic() + 2
    while time.monotonic() < end:
        for reference in (allowed / "folder" / "secret.png", allowed / "x.png"):
            try:
                data = files.read(str(reference)).data
            except FileRefused:
                refused += 1
                continue
            read += 1
            leaked += data != INSIDE
    assert leaked == 0
    assert read > 0  # it was a race
    assert refused > 0


WORDS: dict[Callable[[Path], str], str] = {
    link_folder: "its path leads through a link, or through something that is no folder",
    no_folder: "its path leads through a link, or through something that is no folder",
    no_file: "there is no such file",
    folder: "it is no regular file",
    pipe: "it is no regular file",
    hard_link: "it has a second name (a hard link), which may be outside; use a copy",
}


@pytest.mark.parametrize("make", WORDS, ids=lambda make: make.__name__)
@posix_only
def test_a_refusal_names_the_file_and_says_why(files: LocalFiles, allowed: Path, make: Callable[[Path], str]) -> None:
    reference = make(allowed)
    with pytest.raises(FileRefused) as caught:
        files.read(str(allowed / reference))
    assert caught.value.message == f"The file {reference.rpartition('/')[2]} cannot be read: {WORDS[make]}."
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("moment", ["before it is opened", "after it was opened", "and is gone then"])
def test_without_the_walk_a_file_that_changes_meanwhile_is_refused_and_nothing_stays_open(
    moment: str, allowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_files, "_WALKS", False)
    victim, other = allowed / "cat.png", allowed / "other.png"
    other.write_bytes(victim.read_bytes())
    opened = os.open
    descriptors = []

    def opening(path: Path, flags: int) -> int:
        if moment == "before it is opened":
            other.replace(victim)
        descriptors.append(opened(path, flags))
        if moment == "after it was opened":
            other.replace(victim)
        if moment == "and is gone then":
            victim.unlink()
        return descriptors[-1]

    monkeypatch.setattr(os, "open", opening)
    with pytest.raises(FileRefused) as caught:
        LocalFiles([allowed]).read(str(victim))
    monkeypatch.undo()
    assert caught.value.message == "The file cat.png cannot be read: it is changing at this moment."
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
