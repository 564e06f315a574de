"""A configuration file: read whole, backed up, replaced at once. Links stay links, modes and owners stay.

And what the three formats share: faults with their place, line ends, and splices into a text.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Keys = tuple[str, ...]


class Refused(Exception):
    """It will not be done, and nothing was changed. The text says why, for a person."""


class Unreadable(Refused):
    """The file is not what its host expects, at this place (both count from 1)."""

    def __init__(self, what: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {what}")
        self.line, self.column = line, column


def unreadable(text: str, at: int, what: str) -> Unreadable:
    """The fault at this index of the text."""
    return Unreadable(what, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))


def not_kept() -> Refused:
    """The answer where a splice would have changed more than it should."""
    return Refused("its text is laid out in a way that the entry cannot be changed in without touching the rest")


def eol_of(text: str) -> str:
    """The line end that most lines have."""
    windows = text.count("\r\n")
    return "\r\n" if windows and windows * 2 >= text.count("\n") else "\n"


def indent_at(text: str, at: int) -> str | None:
    """What stands before this index on its line, if that is nothing but blanks."""
    start = text[text.rfind("\n", 0, at) + 1 : at]
    return start if not start.strip(" \t") else None


def spliced(text: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """The text with each range replaced. Ranges do not overlap; those at one place stay in their order."""
    kept, at = [], 0
    for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
        kept += [text[at:start], new]
        at = end
    return "".join([*kept, text[at:]])


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, types included (1 is not true, and a nan is a nan)."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or repr(one) == repr(other))


BACKUP_SUFFIX = ".nano-banana.bak"
BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Held:
    """What a file held when it was read."""

    path: Path
    target: Path
    """Where it really is: behind symbolic links."""
    data: bytes | None
    """None: there is no file."""
    mode: int | None

    @property
    def text(self) -> str:
        """Its text, without a byte order mark.

        Raises:
            Unreadable: it is not UTF-8.
        """
        return decoded(self.data or b"")

    def encoded(self, text: str) -> bytes:
        """The bytes of a new text for it, with the byte order mark that it has.

        Raises:
            Refused: the text cannot be written as UTF-8.
        """
        marked = (self.data or b"").startswith(BOM.encode())
        try:
            return ((BOM if marked else "") + text).encode()
        except UnicodeEncodeError:
            raise Refused("the entry would hold a path or text that is not Unicode") from None


def decoded(data: bytes) -> str:
    """The text of a file's bytes, without a byte order mark.

    Raises:
        Unreadable: it is not UTF-8.
    """
    try:
        return data.decode().removeprefix(BOM)
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before.rsplit(b"\n", 1)[-1].decode()) + 1
        raise Unreadable("it is not UTF-8 text", before.count(b"\n") + 1, column) from None


def hold(path: Path, most_bytes: int) -> Held:
    """Read the file, if there is one.

    Raises:
        Refused: it cannot be read, is no file, or is larger than ``most_bytes``.
    """
    try:
        target = path.resolve()
        if path.is_symlink() and target == path:
            raise Refused("it is a symbolic link in a circle")
        try:
            known = target.stat()
        except FileNotFoundError:
            return Held(path, target, None, None)
        if not stat.S_ISREG(known.st_mode):
            raise Refused("it is not a file")
        if known.st_size > most_bytes:
            size = f"{known.st_size / 1e6:.0f} MB"
            raise Refused(f"it is {size} large, and a configuration of more than {most_bytes / 1e6:.0f} MB is not read")
        return Held(path, target, target.read_bytes(), known.st_mode)
    except (OSError, RuntimeError) as error:
        raise Refused(f"it cannot be read: {getattr(error, 'strerror', None) or error}") from None


def backups(held: Held) -> list[Path]:
    """The back-ups beside it, the newest first."""
    prefix = f"{held.target.name}."
    with suppress(OSError):
        found = [file for file in held.target.parent.iterdir() if file.name.endswith(BACKUP_SUFFIX)]
        return sorted((file for file in found if file.name.startswith(prefix)), reverse=True)
    return []


def check_writable(held: Held) -> None:
    """See whether it may be replaced.

    Raises:
        Refused: the file or its folder is read-only, or there is no such folder and it cannot be made.
    """
    if held.data is not None and not _writable(held.target):
        raise Refused("it is read-only; nothing was changed")
    folder = held.target.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise Refused(f"{folder} is not a folder")
    if not _writable(folder):
        raise Refused(f"its folder {folder} is read-only; nothing was changed")


def replace(held: Held, new: bytes | None) -> Path | None:
    """Put these bytes into its place (None: remove it), after a back-up beside it. Returns the back-up.

    Raises:
        Refused: it is read-only, was changed since it was read, or cannot be written. Then it is as it was.
    """
    check_writable(held)
    folder = held.target.parent
    rubbish: list[Path] = []
    try:
        _check_unchanged(held)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        backup = None
        if held.data is not None:
            backup = _back_up(held)
            rubbish.append(backup)
        if new is None:
            held.target.unlink(missing_ok=True)
        else:
            temporary = _written_beside(held, new)
            rubbish.append(temporary)
            _check_unchanged(held)
            temporary.replace(held.target)
        rubbish.clear()
        _sync_folder(folder)
    except OSError as error:
        raise Refused(f"it cannot be written: {error.strerror or error}") from None
    finally:
        for file in rubbish:
            file.unlink(missing_ok=True)
    return backup


def _check_unchanged(held: Held) -> None:
    now = held.target.read_bytes() if held.target.exists() else None
    if now != held.data:
        raise Refused("another program changed it in the meantime; nothing was changed. Run the command again")


def _back_up(held: Held) -> Path:
    assert held.data is not None
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    number = 0
    while True:
        # 010 sorts after 009: the names are in the order of their making.
        backup = held.target.with_name(f"{held.target.name}.{stamp}-{number:03}{BACKUP_SUFFIX}")
        try:
            descriptor = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        except FileExistsError:
            number += 1
            continue
        _fill(descriptor, backup, held, held.data)
        return backup


def _written_beside(held: Held, new: bytes) -> Path:
    """A finished file in the same folder, for its owner alone unless the old one is for others too."""
    descriptor, name = tempfile.mkstemp(prefix=f".{held.target.name}.", dir=held.target.parent)
    temporary = Path(name)
    _fill(descriptor, temporary, held, new)
    return temporary


def _fill(descriptor: int, path: Path, held: Held, data: bytes) -> None:
    """Write all of it, to the disk, with the old file's mode and owner; or leave no file."""
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _like(held, path)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _like(held: Held, file: Path) -> None:
    if held.mode is None:
        return
    if hasattr(os, "chown"):
        known = held.target.stat()
        with suppress(PermissionError):
            os.chown(file, known.st_uid, known.st_gid)
        now = file.stat()
        if (now.st_uid, now.st_gid) != (known.st_uid, known.st_gid):
            raise OSError(errno.EPERM, "its owner or group would not stay. Run this command as its owner")
    file.chmod(stat.S_IMODE(held.mode))


def _writable(path: Path) -> bool:
    # The mode counts for root too, and a lock that someone set on purpose is no obstacle to go around.
    return bool(path.stat().st_mode & stat.S_IWUSR) and os.access(path, os.W_OK)


def _sync_folder(folder: Path) -> None:
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
