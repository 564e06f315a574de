"""Local files that a caller names: nothing outside of the allowed folders is read, and nothing hangs."""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from nano_banana_mcp.images.errors import ImageError, ImageTooLarge, NotAnImage
from nano_banana_mcp.images.local import local_files
from nano_banana_mcp.images.local.local_files import FileRefused, LocalFiles
from tests.support.image_samples import INSIDE, OUTSIDE, large_png, png
from tests.support.posix import posix_only


@pytest.fixture(params=[pytest.param("walk", marks=posix_only), "checked"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of opening: of systems that open relative to a folder, and of those that do not."""
    monkeypatch.setattr(local_files, "_WALKS", request.param == "walk")
    return str(request.param)


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
def test_an_image_inside_is_read_however_its_path_is_spelt(files: LocalFiles, allowed: Path, spelling: str) -> None:
    reference = spelling.format(allowed=allowed, quoted=quote("새벽 등대.png"))
    image = files.read(reference)
    assert (image.data, image.mime_type) == (INSIDE, "image/png")


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
def test_a_path_outside_is_refused_in_the_same_words_whether_it_exists_or_not(
    files: LocalFiles, allowed: Path, spelling: str
) -> None:
    with pytest.raises(FileRefused) as caught:
        files.read(spelling.format(allowed=allowed, parent=allowed.parent))
    assert caught.value.message == "This path is outside the folders that this server may read reference images from."
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
        "file://{allowed}/\ud800.png",
    ],
)
@posix_only
def test_text_that_is_no_absolute_path_is_refused(files: LocalFiles, allowed: Path, reference: str) -> None:
    with pytest.raises(FileRefused, match="not an absolute path"):
        files.read(reference.format(allowed=allowed))


def link_file(allowed: Path) -> str:
    (allowed / "x.png").symlink_to(allowed.parent / "secret.png")
    return "x.png"


def link_file_inside(allowed: Path) -> str:
    (allowed / "x.png").symlink_to(allowed / "cat.png")
    return "x.png"


def link_to_nothing(allowed: Path) -> str:
    (allowed / "x.png").symlink_to(allowed.parent / "nothing.png")
    return "x.png"


def link_to_a_folder(allowed: Path) -> str:
    (allowed / "x.png").symlink_to(allowed.parent)
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


def pipe_for_a_folder(allowed: Path) -> str:
    os.mkfifo(allowed / "x.png")
    return "x.png/cat.png"


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
        pipe_for_a_folder,
        device,
        folder,
        hard_link,
        no_file,
        no_folder,
    ],
    ids=lambda make: make.__name__,
)
@posix_only
def test_anything_but_a_regular_file_inside_is_refused_at_once(
    files: LocalFiles, allowed: Path, make: Callable[[Path], str]
) -> None:
    reference = str(allowed / make(allowed))
    with pytest.raises(FileRefused, match=r"cannot be read"):
        files.read(reference)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotAnImage),
        (b"dear diary", NotAnImage),
        (b"<html></html>", NotAnImage),
        (b"\x00" * 600, NotAnImage),
        (png(30_000, 30_000), ImageTooLarge),
        (large_png(20 * 1024 * 1024 + 1), ImageTooLarge),
    ],
    ids=["empty", "text", "html", "zeros", "pixels", "bytes"],
)
def test_a_file_that_is_no_image_is_refused_whatever_its_name(
    files: LocalFiles, allowed: Path, data: bytes, error: type[ImageError]
) -> None:
    (allowed / "x.png").write_bytes(data)
    with pytest.raises(error, match=r"x\.png"):
        files.read(str(allowed / "x.png"))


def test_a_huge_file_is_refused_at_once(files: LocalFiles, allowed: Path) -> None:
    with (allowed / "x.png").open("wb") as file:
        file.write(INSIDE)
        file.truncate(10**12)
    with pytest.raises(ImageTooLarge, match=r"^The file x\.png is larger than 20 MB\."):
        files.read(str(allowed / "x.png"))


def test_a_file_may_have_as_many_bytes_as_are_allowed_and_not_one_more(allowed: Path) -> None:
    assert LocalFiles([allowed], max_bytes=len(INSIDE)).read(str(allowed / "cat.png")).data == INSIDE
    with pytest.raises(ImageTooLarge, match=r"^The file cat\.png is larger than"):
        LocalFiles([allowed], max_bytes=len(INSIDE) - 1).read(str(allowed / "cat.png"))


def test_a_file_may_claim_as_many_pixels_as_can_be_made_smaller(files: LocalFiles, allowed: Path) -> None:
    (allowed / "fits.png").write_bytes(png(10_000, 8_000))
    (allowed / "x.png").write_bytes(png(10_000, 8_001))
    assert files.read(str(allowed / "fits.png")).mime_type == "image/png"
    with pytest.raises(ImageTooLarge, match=r"^The file x\.png claims 10000 x 8001 pixels; at most 80 million"):
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


@pytest.mark.parametrize(
    ("folders", "reference", "words"),
    [
        (
            [],
            "{parent}/pictures/cat.png",
            "This server may not read files: no folder is allowed for reference images. To allow a folder of images, "
            "set NANO_BANANA_INPUT_DIRS in the configuration of this server, for example "
            f"NANO_BANANA_INPUT_DIRS=~/Pictures (separate several with {os.pathsep!r}), and restart it.",
        ),
        (
            ["allowed", "al\nlowed"],
            "/etc/passwd",
            "This path is outside the folders that this server may read reference images from. "
            "Allowed by NANO_BANANA_INPUT_DIRS: {parent}/allowed, {parent}/al?lowed. "
            "Move the image there, or pass an http(s) URL or a data URI.",
        ),
        (
            ["allowed"],
            "cat.png",
            "This is not an absolute path of a file. Use a path such as /folder/cat.png or file:///folder/cat.png.",
        ),
        (
            ["allowed"],
            "{parent}/allowed/nothing.png",
            "The file nothing.png cannot be read: there is no such file. "
            "Pass an http(s) URL or an image data URI, or a file in a folder that NANO_BANANA_INPUT_DIRS allows.",
        ),
        (
            ["allowed"],
            "{parent}/allowed/x\n\x1b[31m\u202e.png",
            "The file x??[31m?.png cannot be read: there is no such file. "
            "Pass an http(s) URL or an image data URI, or a file in a folder that NANO_BANANA_INPUT_DIRS allows.",
        ),
    ],
    ids=["none", "outside", "relative", "missing", "unprintable"],
)
def test_a_refusal_says_what_to_do_next(allowed: Path, folders: list[str], reference: str, words: str) -> None:
    files = LocalFiles([allowed.parent / folder for folder in folders])
    with pytest.raises(FileRefused) as caught:
        files.read(reference.format(parent=allowed.parent))
    assert str(caught.value) == words.format(parent=allowed.parent)


@pytest.mark.parametrize(("length", "shown"), [(200, "a" * 200), (201, "a" * 199 + "…")])
def test_a_long_name_is_cut_in_the_words(files: LocalFiles, allowed: Path, length: int, shown: str) -> None:
    with pytest.raises(FileRefused) as caught:
        files.read(str(allowed / ("a" * length)))
    assert caught.value.message == f"The file {shown} cannot be read: there is no such file."


def test_an_error_of_the_disk_is_in_the_message(
    files: LocalFiles, allowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as disk:
        disk.setattr(os, "open", fail)
        with pytest.raises(FileRefused) as caught:
            files.read(str(allowed / "cat.png"))
    assert caught.value.message == f"The file cat.png cannot be read: {os.strerror(errno.EIO)}."


@pytest.mark.parametrize("name", ["nul.png", "cat.png:secret", "cat.png."])
def test_where_windows_would_open_something_else_a_name_is_refused(
    files: LocalFiles, allowed: Path, name: str, way: str
) -> None:
    (allowed / name).write_bytes(INSIDE)
    if way == "walk":
        assert files.read(str(allowed / name)).data == INSIDE
        return
    with pytest.raises(FileRefused) as caught:
        files.read(str(allowed / name))
    why = "Windows reserves its name"
    assert caught.value.message == f"The file {name} cannot be read: {why}."


def test_a_pipe_that_is_allowed_as_a_folder_is_not_waited_for(allowed: Path) -> None:
    os.mkfifo(allowed / "pipe")
    with pytest.raises(FileRefused, match="not a folder"):
        LocalFiles([allowed / "pipe"]).read(str(allowed / "pipe" / "cat.png"))


LINK = "its path contains a link, or a component that is not a folder"
WORDS: dict[Callable[[Path], str], str] = {
    link_file: LINK,
    link_to_nothing: LINK,  # of what is outside nothing is revealed, not even whether it exists
    link_to_a_folder: LINK,
    link_folder: LINK,
    no_folder: LINK,
    pipe_for_a_folder: LINK,
    no_file: "there is no such file",
    folder: "it is not a regular file",
    pipe: "it is not a regular file",
    link_to_itself: LINK,
    hard_link: "it has a second name (a hard link), which may be outside the folder; use a copy",
}


@pytest.mark.parametrize("make", WORDS, ids=lambda make: make.__name__)
@posix_only
def test_a_refusal_names_the_file_and_says_why(files: LocalFiles, allowed: Path, make: Callable[[Path], str]) -> None:
    reference = make(allowed)
    with pytest.raises(FileRefused) as caught:
        files.read(str(allowed / reference))
    assert caught.value.message == f"The file {reference.rpartition('/')[2]} cannot be read: {WORDS[make]}."
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("written", "spelling"),
    [
        ("Screenshot 2026-11-24 at 9.41.00\u202fAM.png", "Screenshot 2026-11-24 at 9.41.00 AM.png"),
        (unicodedata.normalize("NFD", "고양이.png"), "고양이.png"),
        ("é.png", unicodedata.normalize("NFD", "é.png")),
        ("a\u00a0b.png", "a b.png"),
    ],
)
def test_a_name_that_the_disk_spells_otherwise_is_found(tmp_path: Path, written: str, spelling: str) -> None:
    folder = tmp_path / unicodedata.normalize("NFD", "사진")
    folder.mkdir()
    (folder / written).write_bytes(INSIDE)
    asked_path = f"{tmp_path}/사진/{spelling}"
    assert LocalFiles([tmp_path]).read(asked_path).data == INSIDE
    (folder / "link.png").symlink_to(folder / written)
    with pytest.raises(FileRefused, match="link"):
        LocalFiles([tmp_path]).read(f"{tmp_path}/사진/link.png")


def test_of_two_names_that_look_alike_none_is_guessed(tmp_path: Path) -> None:
    for name in ("a\u202fb.png", "a\u00a0b.png"):
        (tmp_path / name).write_bytes(INSIDE)
    with pytest.raises(FileRefused, match="no such file"):
        LocalFiles([tmp_path]).read(f"{tmp_path}/a b.png")
