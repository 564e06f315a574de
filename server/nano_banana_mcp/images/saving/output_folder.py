"""The folder in which a person keeps pictures: files that are whole or not there, and a line about each."""

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
from pathlib import Path

from nano_banana_mcp.images.formats import extension_for, sniff
from nano_banana_mcp.images.image import MAX_BYTES, EncodedImage
from nano_banana_mcp.images.local.windows_paths import is_pointer
from nano_banana_mcp.images.saving.filenames import file_name, is_name_of
from nano_banana_mcp.images.saving.metadata import Facts, with_facts

logger = logging.getLogger(__name__)

LINES = "pictures.jsonl"
MAX_PROMPT_BYTES = 3_000

_PART = ".nano-banana-"
_ABANDONED_SECONDS = 3_600.0

_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}


class OutputFolder:
    """Pictures in ``path``, which any number of processes may share.

    A file that is there is never written to again: it may have been changed by its owner. Pictures can be read by
    whoever may enter the folder; if it has to be made, only its owner may.

    Raises:
        OSError: the disk fails, or what is there is no folder; so do all methods.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, task_id: str, number: int) -> Path | None:
        """Where a picture is kept already; it may have been asked for under another time, or have other words."""
        found = None
        with os.scandir(self.path) as entries:
            for entry in entries:
                if is_name_of(entry.name, task_id, number):
                    found = self.path / entry.name
                elif entry.name.startswith(_PART):
                    _sweep(entry)
        return found

    def read(self, task_id: str, number: int) -> EncodedImage | None:
        """A picture that is kept here, if it still is one."""
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

    def save(self, encoded: EncodedImage, facts: Facts) -> Path:
        """Keep a picture, once: where it is kept already, that is where. Returns its path."""
        self.make()
        kept = self.find(facts.task_id, facts.number)
        if kept is not None:
            return kept
        name = file_name(
            created_at=facts.created_at,
            prompt=facts.prompt,
            task_id=facts.task_id,
            number=facts.number,
            extension=extension_for(encoded.mime_type),
        )
        data = with_facts(encoded, facts)
        path = self.path / name
        try:
            self._write(path, data)
        except FileExistsError:
            return path  # another process was faster
        try:
            self._note(path, data, facts)
        except OSError as error:  # the picture is what counts
            why = error.strerror or error
            logger.warning("a picture was saved, but its line could not be added to %s: %s", LINES, why)
        return path

    def make(self) -> None:
        """Make the folder itself. Not what it is in: where that is missing, a disk may be."""
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(mode=0o700)

    def check(self) -> None:
        """Try to write here, and to write the line about a picture."""
        self.make()
        part = self.path / f"{_PART}{uuid.uuid4().hex}"
        try:
            self._write(part, b"doctor")
        finally:
            part.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.close(_open(self.path / LINES, os.O_RDWR))

    def _write(self, path: Path, data: bytes) -> None:
        """A whole file, durable, or none. Raises FileExistsError where there is something of that name."""
        part = self.path / f"{_PART}{uuid.uuid4().hex}"
        try:
            with open(part, "xb", opener=lambda name, flags: os.open(name, flags, 0o644)) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _rename_to_new(part, path)
        finally:
            part.unlink(missing_ok=True)
        _sync_folder(self.path)

    def _note(self, path: Path, data: bytes, facts: Facts) -> None:
        line = {
            "file": path.name,
            "prompt": facts.prompt_within(MAX_PROMPT_BYTES) or None,
            "model": facts.model,
            "task_id": facts.task_id,
            "number": facts.number,
            "url": facts.url,
            "credits": facts.credits,
            "created_at": facts.when,
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        text = json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        descriptor = _open(self.path / LINES, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError("it is no regular file")
            if found.st_size:  # half a line of a full disk, or an editor's last one, is none to go on with
                os.lseek(descriptor, -1, os.SEEK_END)
                text = (b"" if os.read(descriptor, 1) == b"\n" else b"\n") + text
            if os.write(descriptor, text) != len(text):  # one write: lines of several processes do not mix
                raise OSError("only a part of it could be written")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _open(path: str | Path, flags: int) -> int:
    """Open no link. Where no flag says so (Windows), the name is looked at first, and could change in between."""
    if not hasattr(os, "O_NOFOLLOW"):
        with contextlib.suppress(FileNotFoundError):
            if is_pointer(os.lstat(path)):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return os.open(path, flags | _NO_LINK, 0o644)


def _rename_to_new(part: Path, path: Path) -> None:
    """Give a file its name, unless there is something of that name."""
    if os.name == "nt":
        part.rename(path)  # refuses by itself
        return
    try:
        os.link(part, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # A file system without hard links: the name is taken first, and then filled.
        path.touch(exist_ok=False)
        try:
            part.replace(path)
        except BaseException:
            path.unlink()
            raise


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # the file is durable; Windows and some file systems do not know this of folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sweep(entry: os.DirEntry[str]) -> None:
    """Delete what a killed process left half written."""
    with contextlib.suppress(OSError):
        if time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_SECONDS:
            Path(entry.path).unlink()
