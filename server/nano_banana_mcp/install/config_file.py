"""A configuration file: read whole, backed up, replaced atomically. Links, modes and owners are preserved."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nano_banana_mcp.common.files import sync_folder
from nano_banana_mcp.install.errors import Refused, Unreadable

BACKUP_SUFFIX = ".nano-banana.bak"
BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The content of a file when it was read."""

    path: Path
    target: Path
    """The file behind symbolic links."""
    data: bytes | None
    """None if the file does not exist."""
    mode: int | None

    @property
    def text(self) -> str:
        """The text, without a byte order mark.

        Raises:
            Unreadable: The file is not UTF-8.
        """
        return decoded(self.data or b"")

    def encoded(self, text: str) -> bytes:
        """The bytes of a new text, with a byte order mark if the file has one.

        Raises:
            Refused: The text cannot be written as UTF-8.
        """
        marked = (self.data or b"").startswith(BOM.encode())
        try:
            return ((BOM if marked else "") + text).encode()
        except UnicodeEncodeError:
            raise Refused("the entry would contain a path or text that is not Unicode") from None


def decoded(data: bytes) -> str:
    """The text of a file's bytes, without a byte order mark.

    Raises:
        Unreadable: The file is not UTF-8.
    """
    try:
        return data.decode().removeprefix(BOM)
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before.rsplit(b"\n", 1)[-1].decode()) + 1
        raise Unreadable("it is not UTF-8 text", before.count(b"\n") + 1, column) from None


def read_config(path: Path, max_bytes: int) -> ConfigFile:
    """Read the file if it exists.

    Raises:
        Refused: The file cannot be read, is not a regular file, or is larger than ``max_bytes``.
    """
    try:
        target = path.resolve()
        if path.is_symlink() and target == path:
            raise Refused("it is a symbolic link that leads to itself")
        try:
            status = target.stat()
        except FileNotFoundError:
            return ConfigFile(path, target, None, None)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("it is not a file")
        if status.st_size > max_bytes:
            size, limit = f"{status.st_size / 1e6:.0f} MB", f"{max_bytes / 1e6:.0f} MB"
            raise Refused(f"it has {size}; a configuration of more than {limit} is not read")
        return ConfigFile(path, target, target.read_bytes(), status.st_mode)
    except (OSError, RuntimeError) as error:
        raise Refused(f"it cannot be read: {getattr(error, 'strerror', None) or error}") from None


def backups(config: ConfigFile) -> list[Path]:
    """The back-ups in the same folder, newest first."""
    prefix = f"{config.target.name}."
    with suppress(OSError):
        files = [file for file in config.target.parent.iterdir() if file.name.endswith(BACKUP_SUFFIX)]
        return sorted((file for file in files if file.name.startswith(prefix)), reverse=True)
    return []


def check_writable(config: ConfigFile) -> None:
    """Check that the file may be replaced.

    Raises:
        Refused: The file or its folder is read-only, or its folder does not exist and cannot be created.
    """
    if config.data is not None and not _writable(config.target):
        raise Refused("it is read-only; nothing was changed")
    folder = config.target.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise Refused(f"{folder} is not a folder")
    if not _writable(folder):
        raise Refused(f"its folder {folder} is read-only; nothing was changed")


def replace(config: ConfigFile, new: bytes | None) -> Path | None:
    """Replace the file, after a back-up in the same folder.

    Args:
        new: The new bytes; None removes the file.

    Returns:
        The back-up, None if there was no file.

    Raises:
        Refused: The file is read-only, was changed since it was read, or cannot be written. It is unchanged then.
    """
    check_writable(config)
    folder = config.target.parent
    leftovers: list[Path] = []
    try:
        _check_unchanged(config)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        backup = None
        if config.data is not None:
            backup = _write_backup(config)
            leftovers.append(backup)
        if new is None:
            config.target.unlink(missing_ok=True)
        else:
            temporary = _write_temporary(config, new)
            leftovers.append(temporary)
            _check_unchanged(config)
            temporary.replace(config.target)
        leftovers.clear()
        sync_folder(folder)
    except OSError as error:
        raise Refused(f"it cannot be written: {error.strerror or error}") from None
    finally:
        for file in leftovers:
            file.unlink(missing_ok=True)
    return backup


def _check_unchanged(config: ConfigFile) -> None:
    current = config.target.read_bytes() if config.target.exists() else None
    if current != config.data:
        raise Refused("another program changed it in the meantime; nothing was written. Run the command again")


def _write_backup(config: ConfigFile) -> Path:
    assert config.data is not None
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    number = 0
    while True:
        # Fixed width, so that names sort in the order of their creation.
        backup = config.target.with_name(f"{config.target.name}.{stamp}-{number:03}{BACKUP_SUFFIX}")
        try:
            descriptor = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        except FileExistsError:
            number += 1
            continue
        _write(descriptor, backup, config, config.data)
        return backup


def _write_temporary(config: ConfigFile, new: bytes) -> Path:
    """A complete file in the same folder, readable by its owner only unless the old file is readable by others."""
    descriptor, name = tempfile.mkstemp(prefix=f".{config.target.name}.", dir=config.target.parent)
    temporary = Path(name)
    _write(descriptor, temporary, config, new)
    return temporary


def _write(descriptor: int, path: Path, config: ConfigFile, data: bytes) -> None:
    """Write and sync all data with the old file's mode and owner; on an error, remove the file."""
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _copy_owner_and_mode(config, path)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _copy_owner_and_mode(config: ConfigFile, file: Path) -> None:
    if config.mode is None:
        return
    if hasattr(os, "chown"):
        old = config.target.stat()
        with suppress(PermissionError):
            os.chown(file, old.st_uid, old.st_gid)
        new = file.stat()
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
            raise OSError(errno.EPERM, "its owner or group would change. Run this command as the owner of the file")
    file.chmod(stat.S_IMODE(config.mode))


def _writable(path: Path) -> bool:
    # Root could write anyway, but a file that was made read-only on purpose is respected.
    return bool(path.stat().st_mode & stat.S_IWUSR) and os.access(path, os.W_OK)
