"""The folder of the image store: content-addressed files that any number of processes share.

``files/ab/<sha256>`` holds bytes; ``index/cd/<generation_id>-<number>.json`` names the bytes of one image. An index
file is written after its bytes, so a reader that finds the first finds the second. Synchronous.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from nano_banana_mcp.common.files import PART_SUFFIX, atomic_write, private_folder
from nano_banana_mcp.images.formats import sniff
from nano_banana_mcp.images.image import EncodedImage

logger = logging.getLogger(__name__)

_GENERATION_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

MIN_ORPHAN_AGE_SECONDS = 3_600.0
"""Age at which a partial file, or bytes without an index file, can no longer belong to a write in progress."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """The index entry of one image.

    Attributes:
        number: Number of the image in its generation, from 0.
        sha256: Name of its bytes.
        stored_at: Unix time, seconds.
        is_only_copy: Whether the bytes exist nowhere else: no URL leads to them.
    """

    generation_id: str
    number: int
    sha256: str
    mime_type: str
    size_bytes: int
    stored_at: float
    is_only_copy: bool


class ImageFolder:
    """Stores the bytes of images in ``path``, readable by the user only.

    Raises:
        OSError: The disk fails. So do all methods that write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = path / "files"
        self._index = path / "index"

    def find(self, generation_id: str, number: int, *, is_last_resort: bool = False) -> EncodedImage | None:
        """Return the bytes of an image, or None if they are not stored, cannot be read, or were altered.

        Altered bytes stay until :meth:`store` replaces them. Those that exist nowhere else are returned as they are.

        Args:
            is_last_resort: Whether to return altered bytes if they still are an image of the same type.
        """
        entry = self._read_entry(self._index_path(generation_id, number))
        if entry is None:
            return None
        path = self._file_path(entry.sha256)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            logger.warning("the stored image %s of %s was altered by another program", number, generation_id)
            if not entry.is_only_copy and not (is_last_resort and sniff(data) == entry.mime_type):
                return None
        return EncodedImage(data, entry.mime_type)

    def path_of(self, generation_id: str, number: int) -> Path | None:
        """Return the file with the bytes of an image, or None if they are not stored."""
        entry = self._read_entry(self._index_path(generation_id, number))
        path = None if entry is None else self._file_path(entry.sha256)
        return path if path is not None and path.exists() else None

    def has(self, generation_id: str, number: int) -> bool:
        """Return whether the bytes of an image are stored. They are not read, only their size."""
        entry = self._read_entry(self._index_path(generation_id, number))
        with contextlib.suppress(OSError):
            return entry is not None and self._file_path(entry.sha256).stat().st_size == entry.size_bytes
        return False

    def store(
        self, generation_id: str, number: int, image: EncodedImage, *, is_only_copy: bool, stored_at: float
    ) -> None:
        """Store an image durably.

        Args:
            number: Number of the image in its generation, from 0.
            is_only_copy: Whether the bytes exist nowhere else.
            stored_at: Unix time, seconds.
        """
        sha256 = hashlib.sha256(image.data).hexdigest()
        path = self._file_path(sha256)
        self._write_file(path, image.data)
        entry = StoredImage(
            generation_id, number, sha256, image.mime_type, len(image.data), stored_at, is_only_copy=is_only_copy
        )
        index_path = self._index_path(generation_id, number)
        private_folder(index_path.parent)
        atomic_write(index_path, json.dumps(asdict(entry)).encode())
        try:
            _touch(path)  # so that a process that began to delete the same bytes before the entry existed keeps them
        except FileNotFoundError:
            atomic_write(path, image.data)

    def delete(self, generation_id: str) -> None:
        """Delete all images of a generation. Bytes that another generation has, too, stay."""
        index_paths = list(self._index_path(generation_id, 0).parent.glob(f"{generation_id}-*.json"))
        entries = [entry for path in index_paths if (entry := self._read_entry(path)) is not None]
        touched_at = {entry.sha256: self._touched_at(entry.sha256) for entry in entries}
        for path in index_paths:
            path.unlink(missing_ok=True)
        used = {entry.sha256 for entry in self.entries()} if entries else set()
        for sha256 in touched_at.keys() - used:
            if self._touched_at(sha256) == touched_at[sha256]:  # otherwise another process has just stored them
                self._file_path(sha256).unlink(missing_ok=True)

    def drop(self, entry: StoredImage) -> None:
        """Remove an entry from the index. :meth:`sweep` deletes bytes that no entry names any more."""
        self._index_path(entry.generation_id, entry.number).unlink(missing_ok=True)

    def entries(self) -> Iterator[StoredImage]:
        """Yield all entries of the index, in no order."""
        for path in self._index.glob("??/*.json"):
            entry = self._read_entry(path)
            if entry is not None:
                yield entry

    def sweep(self, dropped: set[str]) -> None:
        """Delete bytes that no entry names, and partial files.

        Args:
            dropped: Names of bytes whose entries were dropped just now. Other bytes without an entry are deleted only
                once they are :data:`MIN_ORPHAN_AGE_SECONDS` old: their entry may be about to be written.
        """
        touched_at = {sha256: self._touched_at(sha256) for sha256 in dropped}
        used = {entry.sha256 for entry in self.entries()}
        oldest = time.time_ns() - int(MIN_ORPHAN_AGE_SECONDS * 1e9)
        for path in [*self._files.glob("??/*"), *self._index.glob(f"??/.*{PART_SUFFIX}")]:
            if path.name in used or path.suffix == ".json":
                continue
            with contextlib.suppress(OSError):  # another process may have deleted it
                modified_at = path.stat().st_mtime_ns
                if modified_at < oldest or modified_at == touched_at.get(path.name):
                    path.unlink()

    def size(self) -> tuple[int, int]:
        """Return the number of stored files and their bytes."""
        sizes = []
        for path in self._files.glob("??/*"):
            with contextlib.suppress(OSError):
                if _SHA256.fullmatch(path.name):
                    sizes.append(path.stat().st_size)
        return len(sizes), sum(sizes)

    def _write_file(self, path: Path, data: bytes) -> None:
        with contextlib.suppress(OSError):
            if path.read_bytes() == data:
                _touch(path)  # so that no sweep takes it for an orphan
                return
        private_folder(path.parent)
        atomic_write(path, data)

    def _touched_at(self, sha256: str) -> int | None:
        """When the bytes were last stored by any process, in nanoseconds; None if they are not there."""
        try:
            return self._file_path(sha256).stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def _file_path(self, sha256: str) -> Path:
        return self._files / sha256[:2] / sha256

    def _index_path(self, generation_id: str, number: int) -> Path:
        if not _GENERATION_ID.fullmatch(generation_id):
            raise ValueError(f"not a generation id: {generation_id[:80]!r}")
        shard = hashlib.sha256(generation_id.encode()).hexdigest()[:2]
        return self._index / shard / f"{generation_id}-{number}.json"

    @staticmethod
    def _read_entry(path: Path) -> StoredImage | None:
        try:
            entry = StoredImage(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        return entry if _SHA256.fullmatch(str(entry.sha256)) else None


def _touch(path: Path) -> None:
    now = time.time_ns()  # the system's own times may be too coarse to differ
    os.utime(path, ns=(now, now))
