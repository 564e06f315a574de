"""Reads reference images by path, only inside the allowed folders and never through a link.

A path is not checked first and opened afterwards, because it can change in between. Below an allowed folder each
component is opened relative to the previous one without following links, and the opened file is checked and read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import BinaryIO
from urllib.parse import unquote_to_bytes, urlsplit

from nano_banana_mcp.common.files import display_path, native_path
from nano_banana_mcp.common.text import shorten
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.images.image import MAX_BYTES, EncodedImage, image_from_bytes, too_many_bytes
from nano_banana_mcp.images.local.windows_paths import is_pointer, is_special
from nano_banana_mcp.images.resizing.reference import MAX_PIXELS

SETTING = "NANO_BANANA_INPUT_DIRS"

_WALKS = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW") and hasattr(os, "O_DIRECTORY")
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_ROOT = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)  # may be a link: the setting names it
_FOLDER = _ROOT | _NO_LINK
_FILE = _NO_LINK | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)  # a pipe must not block
_LINK = "its path contains a link, or a component that is not a folder"
_DRIVE = re.compile("^(/+[a-z])%3a(?=/)", re.IGNORECASE)


class FileRefused(ImageError):
    """A local file that may not or cannot be read. The text says nothing about files outside the allowed folders."""

    hint = f"Pass an http(s) URL or an image data URI, or a file in a folder that {SETTING} allows."


class LocalFiles:
    """Reads image files in the allowed folders.

    Args:
        folders: Absolute paths.
        max_bytes: Maximum size of a file.
    """

    def __init__(self, folders: Sequence[Path], *, max_bytes: int = MAX_BYTES) -> None:
        self._folders = tuple(folders)
        self._max_bytes = max_bytes

    def read(self, reference: str) -> EncodedImage:
        """Read the image at an absolute path or a ``file://`` URI.

        Raises:
            FileRefused: It is outside the folders, behind a link, not a regular file, or unreadable.
            NotAnImage: The file is not an image.
            ImageTooLarge: It has too many bytes or pixels.
        """
        path = path_of(reference)
        root, parts = self._place(path)
        source = f"The file {_printable(display_path(parts[-1]))}"
        try:
            open_file = _open_below if _WALKS else _open_checked
            with open(path, "rb", opener=lambda _, flags: open_file(root, parts, flags)) as file:
                data = self._read(file, source)
        except OSError as error:
            raise FileRefused(f"{source} cannot be read: {_reason(error)}.") from None
        return image_from_bytes(data, source=source, max_pixels=MAX_PIXELS)

    def _place(self, path: str) -> tuple[Path, list[str]]:
        """Return the allowed folder that contains a path, and the components below it, without reading the folder."""
        if not self._folders:
            raise FileRefused(
                "This server may not read files: no folder is allowed for reference images.",
                hint=f"To allow a folder of images, set {SETTING} in the configuration of this server, for example "
                f"{SETTING}=~/Pictures (separate several with {os.pathsep!r}), and restart it.",
            )
        if ".." not in Path(path).parts:
            for folder in self._folders:
                # A link may lead to the folder: /tmp is /private/tmp on some systems.
                for root in (folder, Path(os.path.realpath(folder))):
                    if parts := _components_below(Path(path), root):
                        return root, list(parts)
        allowed = ", ".join(_printable(display_path(folder)) for folder in self._folders)
        raise FileRefused(
            "This path is outside the folders that this server may read reference images from.",
            hint=f"Allowed by {SETTING}: {allowed}. Move the image there, or pass an http(s) URL or a data URI.",
        )

    def _read(self, file: BinaryIO, source: str) -> bytes:
        info = os.fstat(file.fileno())
        _require_file(info)
        if info.st_nlink > 1:
            raise OSError("it has a second name (a hard link), which may be outside the folder; use a copy")
        data = file.read(self._max_bytes + 1)
        if len(data) > self._max_bytes:
            raise too_many_bytes(source, self._max_bytes)
        return data


def _components_below(path: PurePath, root: PurePath) -> tuple[str, ...]:
    """Return the components of ``path`` below ``root``; empty if it is not below. ``C:`` equals ``c:`` on Windows."""
    return path.relative_to(root).parts if path.is_relative_to(root) else ()


def path_of(reference: str) -> str:
    """Return the absolute path that a reference names.

    Raises:
        FileRefused: It is not an absolute path.
    """
    path = _from_uri(reference) if reference[:5].lower() == "file:" else _native(reference)
    if path is None or not os.path.isabs(path) or "\0" in path:  # noqa: PTH117 - not validated yet
        folder = "C:/folder" if os.name == "nt" else "/folder"
        raise FileRefused(
            "This is not an absolute path of a file.",
            hint=f"Use a path such as {folder}/cat.png or file:///{folder.lstrip('/')}/cat.png.",
        )
    return path


def _native(path: str) -> str | None:
    try:
        return native_path(path)
    except UnicodeEncodeError:  # half a surrogate pair
        return None


def _from_uri(uri: str) -> str | None:
    try:
        parts = urlsplit(uri)
        path = unquote_to_bytes(parts.path)
    except ValueError:  # half a surrogate pair, too
        return None
    if parts.netloc.lower() not in ("", "localhost") or parts.query or parts.fragment:
        return None
    if os.name == "nt":
        from urllib.request import url2pathname

        # VS Code and others write the colon after the drive letter as %3A, which url2pathname does not decode.
        return url2pathname(_DRIVE.sub(r"\1:", parts.path))
    return os.fsdecode(path)


def _open_below(root: Path, parts: list[str], flags: int) -> int:
    """Open each component relative to the previous one, so that swapping one for a link has no effect."""
    folder = os.open(root, _ROOT)
    try:
        for part in parts[:-1]:
            below = os.open(_spelling(folder, part), _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        name = _spelling(folder, parts[-1])
        # A device is never opened: opening alone may have an effect.
        _require_file(os.stat(name, dir_fd=folder, follow_symlinks=False))
        return os.open(name, flags | _FILE, dir_fd=folder)
    finally:
        os.close(folder)


def _spelling(folder: int | Path, name: str) -> str:
    """Return how a folder spells a name: macOS writes names in NFD, and U+202F into those of its screenshots.

    Returns:
        The name itself if it exists, or if not exactly one name is equal in NFKC with blanks folded.
    """
    try:
        if isinstance(folder, int):
            os.stat(name, dir_fd=folder, follow_symlinks=False)
        else:
            (folder / name).lstat()
    except FileNotFoundError:
        entries = os.listdir(folder)  # noqa: PTH208 - a descriptor has no path
        matches = [entry for entry in entries if _folded(entry) == _folded(name)]
        return matches[0] if len(matches) == 1 else name
    return name


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).split())


def _open_checked(root: Path, parts: list[str], flags: int) -> int:
    """Check each component before and after opening, on systems without relative opening (Windows).

    Weaker than :func:`_open_below` against changes of the folder at the same moment.
    """
    path = root
    for part in parts:
        path /= _spelling(path, part)
    parts = list(path.relative_to(root).parts)
    identities = _identities(root, parts)
    descriptor = os.open(path, flags | _FILE)
    opened = os.fstat(descriptor)
    with contextlib.suppress(OSError):
        if _identities(root, parts) == identities and (opened.st_dev, opened.st_ino) == identities[-1]:
            return descriptor
    os.close(descriptor)
    raise OSError("it is being changed right now")


def _identities(root: Path, parts: list[str]) -> list[tuple[int, int]]:
    """Return device and inode of each component below ``root``.

    Raises:
        OSError: A component is a link or a reserved name, or the last one is not a regular file.
    """
    identities = []
    path = root
    for number, part in enumerate(parts, start=1):
        path = path / part
        if is_special(part):
            raise OSError("Windows reserves its name")
        info = path.lstat()
        if is_pointer(info):
            raise OSError(_LINK)
        if number == len(parts):
            _require_file(info)
        identities.append((info.st_dev, info.st_ino))
    return identities


def _require_file(info: os.stat_result) -> None:
    if is_pointer(info):
        raise OSError(_LINK)
    if not stat.S_ISREG(info.st_mode):
        raise OSError("it is not a regular file")


def _reason(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return _LINK
    if error.errno == errno.ENOENT:
        return "there is no such file"
    return error.strerror or str(error)


def _printable(text: str) -> str:
    return shorten("".join(letter if letter.isprintable() else "?" for letter in text), 200)
