"""The folder in which a person keeps images: complete files, and one JSON line about each in an index."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nano_banana_mcp.common.files import display_path, native_path, sync_folder
from nano_banana_mcp.images.formats import extension_for, sniff
from nano_banana_mcp.images.image import MAX_BYTES, EncodedImage
from nano_banana_mcp.images.local.windows_paths import is_pointer
from nano_banana_mcp.images.saving.filenames import file_name, is_name_of, is_saved_name, numbered
from nano_banana_mcp.images.saving.metadata import ImageMetadata, embed_metadata

logger = logging.getLogger(__name__)

LINES = "pictures.jsonl"
"""Name of the index."""
MAX_PROMPT_BYTES = 3_000
"""UTF-8 bytes of the prompt in a line of the index."""

MAX_COPIES = 100
"""Images of one chosen name; further ones get names of this server's."""

_PART = ".nano-banana-"
_ABANDONED_SECONDS = 3_600.0
"""Age at which a partial file no longer belongs to a running process."""

_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}


class OutputFolder:
    """Images in ``path``, which any number of processes may share.

    An existing file is never written to: its owner may have changed it. Files are readable for all users who may enter
    the folder; a folder that is created here can be entered by its owner only.

    Raises:
        OSError: The disk fails, or ``path`` is not a folder. So do all methods.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, task_id: str, number: int) -> Path | None:
        """Return the path of an image that was saved, whatever its file name is and whether a caller chose it."""
        path = None
        with os.scandir(self.path) as entries:
            for entry in entries:
                if is_name_of(entry.name, task_id, number):
                    path = self.path / entry.name
                elif entry.name.startswith(_PART):
                    _delete_abandoned(entry)
        return path or self._find_in_index(task_id, number)

    def has_saved(self, name: str) -> bool:
        """Return whether this server saved the file of this name here: by its name, or by the index."""
        if is_saved_name(name):
            return True
        try:
            with open(self.path / LINES, "rb", opener=_open) as file:
                return any(_entry_in(line).get("file") == display_path(name) for line in file)
        except OSError:
            return False

    def read(self, task_id: str, number: int) -> EncodedImage | None:
        """Return an image that was saved here; None if none was, or if the file is no image any more."""
        try:
            path = self.find(task_id, number)
            if path is None:
                return None
            with open(path, "rb", opener=_open) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return None
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        mime_type = sniff(data)
        return None if mime_type is None or len(data) > MAX_BYTES else EncodedImage(data, mime_type)

    def save(self, image: EncodedImage, metadata: ImageMetadata) -> Path:
        """Save an image unless it was saved before. Returns its path."""
        self.make()
        saved_path = self.find(metadata.task_id, metadata.number)
        if saved_path is not None:
            return saved_path
        data = embed_metadata(image, metadata)
        for name in _names(metadata, extension_for(image.mime_type)):
            path = self.path / native_path(name)
            try:
                self._write(path, data)
                break
            except FileExistsError:
                if is_saved_name(name) or _contains(path, data):
                    return path  # another process was faster
        try:
            self._append_line(path, data, metadata)
        except OSError as error:  # the image is saved all the same
            logger.warning("an image was saved, but not added to %s: %s", LINES, error.strerror or error)
        return path

    def _find_in_index(self, task_id: str, number: int) -> Path | None:
        """The file of an image with a name that a caller chose."""
        try:
            with open(self.path / LINES, "rb", opener=_open) as file:
                lines = [_entry_in(line) for line in file if task_id.encode() in line]
        except OSError:
            return None
        for entry in reversed(lines):
            if entry.get("task_id") == task_id and entry.get("number") == number:
                path = self.path / native_path(Path(str(entry.get("file"))).name)
                if path.is_file() and not path.is_symlink():
                    return path
        return None

    def make(self) -> None:
        """Create the folder, but not its parents: where they are missing, a disk may not be mounted."""
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(mode=0o700)

    def check(self) -> None:
        """Write a test file, and open the index for writing."""
        self.make()
        part = self.path / f"{_PART}{uuid.uuid4().hex}"
        try:
            self._write(part, b"doctor")
        finally:
            part.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.close(_open(self.path / LINES, os.O_RDWR))

    def _write(self, path: Path, data: bytes) -> None:
        """Write a new file durably, whole or not at all. Raises FileExistsError if the name is taken."""
        part = self.path / f"{_PART}{uuid.uuid4().hex}"
        try:
            with open(part, "xb", opener=lambda name, flags: os.open(name, flags, 0o644)) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _rename_to_new(part, path)
        finally:
            part.unlink(missing_ok=True)
        sync_folder(self.path)

    def _append_line(self, path: Path, data: bytes, metadata: ImageMetadata) -> None:
        line = {
            "file": display_path(path.name),
            "prompt": metadata.prompt_within(MAX_PROMPT_BYTES) or None,
            "model": metadata.model,
            "task_id": metadata.task_id,
            "number": metadata.number,
            "url": metadata.url,
            "credits": metadata.credits,
            "created_at": metadata.created,
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        text = json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        descriptor = _open(self.path / LINES, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is not a regular file")
            if status.st_size:  # a full disk or an editor may have left a line without its end
                os.lseek(descriptor, -1, os.SEEK_END)
                text = (b"" if os.read(descriptor, 1) == b"\n" else b"\n") + text
            if os.write(descriptor, text) != len(text):  # one write: lines of several processes do not mix
                raise OSError("only a part of it could be written")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _names(metadata: ImageMetadata, extension: str) -> Iterator[str]:
    """The names for a file: the first that is free is taken."""
    if metadata.save_as is not None:
        for copy in range(1, MAX_COPIES + 1):
            yield numbered(metadata.save_as, metadata.number, copy) + extension
    yield file_name(
        created_at=metadata.created_at,
        prompt=metadata.prompt,
        task_id=metadata.task_id,
        number=metadata.number,
        extension=extension,
    )


def _contains(path: Path, data: bytes) -> bool:
    """Whether a file has just these bytes. A link to one does not count."""
    try:
        with open(path, "rb", opener=_open) as file:
            return os.fstat(file.fileno()).st_size == len(data) and file.read() == data
    except OSError:
        return False


def _entry_in(line: bytes) -> dict[str, Any]:
    """Return a line of the index; empty if it cannot be read."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _open(path: str | Path, flags: int) -> int:
    """Open a file, but no link. Without a flag for it (Windows) the name is checked first, with a short race."""
    if not hasattr(os, "O_NOFOLLOW"):
        with contextlib.suppress(FileNotFoundError):
            if is_pointer(os.lstat(path)):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return os.open(path, flags | _NO_LINK, 0o644)


def _rename_to_new(part: Path, path: Path) -> None:
    """Rename a file unless the new name is taken."""
    if os.name == "nt":
        part.rename(path)  # raises if the name is taken
        return
    try:
        os.link(part, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # A file system without hard links: reserve the name first, then replace it.
        path.touch(exist_ok=False)
        try:
            part.replace(path)
        except BaseException:
            path.unlink()
            raise


def _delete_abandoned(entry: os.DirEntry[str]) -> None:
    """Delete a partial file of a killed process."""
    with contextlib.suppress(OSError):
        if time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_SECONDS:
            Path(entry.path).unlink()
