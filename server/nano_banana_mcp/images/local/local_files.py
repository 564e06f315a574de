"""Reads pictures from disk that somebody else names: out of the allowed folders, and never through a link out of them.

A path is never checked first and opened after: between the two it can be changed. Below an allowed folder each
component is opened relative to the one before, refusing links, and what was opened is what is looked at and read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import BinaryIO
from urllib.parse import unquote_to_bytes, urlsplit

from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.images.image import MAX_BYTES, EncodedImage, image_from_bytes, too_many_bytes
from nano_banana_mcp.images.local.windows_paths import is_pointer, is_special
from nano_banana_mcp.images.resizing.reference import MAX_PIXELS

SETTING = "NANO_BANANA_INPUT_DIRS"

_WALKS = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW") and hasattr(os, "O_DIRECTORY")
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_ROOT = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)  # may be a link: whoever allowed it knows
_FOLDER = _ROOT | _NO_LINK
_FILE = _NO_LINK | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)  # a pipe in its place is not waited for
_LINK = "its path leads through a link, or through something that is no folder"
_DRIVE = re.compile("^(/+[a-z])%3a(?=/)", re.IGNORECASE)


class FileRefused(ImageError):
    """A file of this machine that may not be read, or cannot be. Of what lies outside, it never says what is there."""

    hint = f"Pass an http(s) URL or an image data URI, or a file in a folder that {SETTING} allows."


class LocalFiles:
    """Opens files in ``folders`` (absolute paths), and no others."""

    def __init__(self, folders: Sequence[Path], *, max_bytes: int = MAX_BYTES) -> None:
        self._folders = tuple(folders)
        self._max_bytes = max_bytes

    def read(self, reference: str) -> EncodedImage:
        """The picture at an absolute path or a ``file://`` URI.

        Raises:
            FileRefused: it is outside of the folders, led to by a link, no regular file, or cannot be read.
            NotAnImage: it is something else.
            ImageTooLarge: it has too many bytes or pixels.
        """
        path = path_of(reference)
        root, parts = self._place(path)
        source = f"The file {_printable(parts[-1])}"
        try:
            way = _open_below if _WALKS else _open_checked
            with open(path, "rb", opener=lambda _, flags: way(root, parts, flags)) as file:
                data = self._read(file, source)
        except OSError as error:
            raise FileRefused(f"{source} cannot be read: {_why(error)}.") from None
        return image_from_bytes(data, source=source, max_pixels=MAX_PIXELS)

    def _place(self, path: str) -> tuple[Path, list[str]]:
        """The allowed folder that a path is in, and the way from there. Nothing below the folder is looked at."""
        if not self._folders:
            example = _printable(str(Path(path).parent))
            raise FileRefused(
                "No folder is open to this server for reference pictures.",
                hint=f"To allow one, the person sets {SETTING} in the host's configuration of this server, such as "
                f"{SETTING}={example} (several with {os.pathsep!r} between them), and restarts it.",
            )
        if ".." not in Path(path).parts:
            for folder in self._folders:
                # The same folder by its other name, where links lead to it: /tmp is /private/tmp on some systems.
                for root in (folder, Path(os.path.realpath(folder))):
                    if parts := _way(Path(path), root):
                        return root, list(parts)
        allowed = ", ".join(_printable(str(folder)) for folder in self._folders)
        raise FileRefused(
            "This path is outside of the folders that this server may read reference pictures from.",
            hint=f"Allowed by {SETTING}: {allowed}. Move the picture there, or pass an http(s) URL or a data URI.",
        )

    def _read(self, file: BinaryIO, source: str) -> bytes:
        found = os.fstat(file.fileno())
        _require_file(found)
        if found.st_nlink > 1:
            raise OSError("it has a second name (a hard link), which may be outside; use a copy")
        data = file.read(self._max_bytes + 1)
        if len(data) > self._max_bytes:
            raise too_many_bytes(source, self._max_bytes)
        return data


def _way(path: PurePath, root: PurePath) -> tuple[str, ...]:
    """The way from a folder to what is below it, else nothing. On Windows ``C:`` and ``c:`` are one."""
    return path.relative_to(root).parts if path.is_relative_to(root) else ()


def path_of(reference: str) -> str:
    """The absolute path that a reference names.

    Raises:
        FileRefused: it names none.
    """
    path = _from_uri(reference) if reference[:5].lower() == "file:" else reference
    if path is None or not os.path.isabs(path) or not _can_be_named(path):  # noqa: PTH117 - nothing of it is known yet
        folder = "C:/folder" if os.name == "nt" else "/folder"
        raise FileRefused(
            "This is no absolute path of a file.",
            hint=f"It has to look like {folder}/cat.png or file:///{folder.lstrip('/')}/cat.png.",
        )
    return path


def _can_be_named(path: str) -> bool:
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeError:
        return False


def _from_uri(uri: str) -> str | None:
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.netloc.lower() not in ("", "localhost") or parts.query or parts.fragment:
        return None
    if os.name == "nt":
        from urllib.request import url2pathname

        # Some programs, VS Code among them, write the colon after the drive's letter as %3A, which it does not know.
        return url2pathname(_DRIVE.sub(r"\1:", parts.path))
    return os.fsdecode(unquote_to_bytes(parts.path))


def _open_below(root: Path, parts: list[str], flags: int) -> int:
    """Open component by component, each relative to the one before: whoever swaps one for a link gains nothing."""
    folder = os.open(root, _ROOT)
    try:
        for part in parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        # A device is not opened at all: with some, that alone does something.
        _require_file(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False))
        return os.open(parts[-1], flags | _FILE, dir_fd=folder)
    finally:
        os.close(folder)


def _open_checked(root: Path, parts: list[str], flags: int) -> int:
    """Where nothing can be opened relative to a folder (Windows): each component is looked at before, and after.

    Weaker than :func:`_open_below` against somebody who changes the folder at that very moment.
    """
    path = root.joinpath(*parts)
    seen = _identities(root, parts)
    descriptor = os.open(path, flags | _FILE)
    opened = os.fstat(descriptor)
    with contextlib.suppress(OSError):
        if _identities(root, parts) == seen and (opened.st_dev, opened.st_ino) == seen[-1]:
            return descriptor
    os.close(descriptor)
    raise OSError("it is changing at this moment")


def _identities(root: Path, parts: list[str]) -> list[tuple[int, int]]:
    """Of each component below ``root``; none may be a link, or another kind of pointer elsewhere."""
    identities = []
    path = root
    for number, part in enumerate(parts, start=1):
        path = path / part
        if is_special(part):
            raise OSError("it has a name that Windows keeps for other things")
        found = path.lstat()
        if is_pointer(found):
            raise OSError(_LINK)
        if number == len(parts):
            _require_file(found)
        identities.append((found.st_dev, found.st_ino))
    return identities


def _require_file(found: os.stat_result) -> None:
    if is_pointer(found):
        raise OSError(_LINK)
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is no regular file")


def _why(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return _LINK
    if error.errno == errno.ENOENT:
        return "there is no such file"
    return error.strerror or str(error)


def _printable(text: str) -> str:
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return plain if len(plain) <= 200 else plain[:199] + "…"
