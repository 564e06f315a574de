"""Files written whole or not at all, readable by their owner only."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from pathlib import Path

PART_SUFFIX = ".part"
"""Suffix of a file that is being written. A killed process may leave one behind."""


def native_path(text: str) -> str:
    """Return a path or file name from a message or a UTF-8 file as this system's functions take it.

    In a locale that is not UTF-8 their characters stand for single bytes. Names are UTF-8 on disk in every locale.
    """
    return text if os.name == "nt" else os.fsdecode(text.encode("utf-8", "surrogateescape"))


def display_path(path: str | os.PathLike[str]) -> str:
    """Return a path as text for messages and files: the reverse of :func:`native_path`."""
    return os.fsencode(path).decode("utf-8", "replace")


def reason_of(error: OSError) -> str:
    """Return the readable reason of an error of the operating system."""
    return error.strerror or str(error) or "the system gives no reason"


def atomic_write(path: Path, data: bytes, *, mode: int = 0o600, keep_owner: bool = False) -> None:
    """Write a file durably: afterwards it has the whole new content, or after an error the old one.

    Args:
        path: Where to write. A link is replaced, not followed. Its folder must exist.
        mode: Permissions of the new file (POSIX).
        keep_owner: Whether the new file belongs to the owner of the old one, if this process runs as root.

    Raises:
        OSError: The file cannot be written. No partial file is left behind.
    """
    part = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}{PART_SUFFIX}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(part, flags, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if keep_owner and sys.platform != "win32" and os.geteuid() == 0 and path.exists():
            owner = path.stat()
            os.chown(part, owner.st_uid, owner.st_gid)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def private_folder(path: Path) -> Path:
    """Create a folder and its parents so that only the owner can enter; existing ones are left as they are.

    Raises:
        OSError: It cannot be created.
    """
    if not path.parent.exists():
        private_folder(path.parent)  # `parents=True` would give them the default permissions
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable, where the system can."""
    with contextlib.suppress(OSError):  # Windows and some file systems cannot; the file itself is durable
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
