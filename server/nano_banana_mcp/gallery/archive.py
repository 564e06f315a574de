"""A ZIP archive that is sent while it is made."""

from __future__ import annotations

import io
import time
from zipfile import ZipFile, ZipInfo

MIN_ZIP_TIME_SECONDS = 315_532_800.0
"""1980-01-01, the earliest time that a ZIP archive can store; Unix time."""


class ArchiveStream:
    """Adds files to an archive, uncompressed, and returns its bytes piece by piece."""

    def __init__(self) -> None:
        self._unsent = _Unsent()
        self._archive = ZipFile(self._unsent, "w")

    def add(self, name: str, data: bytes, modified_at: float) -> bytes:
        """Return the bytes of the archive for one more file.

        Args:
            name: Its name in the archive.
            modified_at: Unix time, seconds.
        """
        moment = time.gmtime(max(modified_at, MIN_ZIP_TIME_SECONDS))
        self._archive.writestr(ZipInfo(name, moment[:6]), data)
        return self._unsent.take()

    def close(self) -> bytes:
        """Return the end of the archive."""
        self._archive.close()
        return self._unsent.take()


class _Unsent(io.BytesIO):
    """The end of a file whose beginning has been sent. Its positions are those of the whole file."""

    _sent_bytes = 0

    def tell(self) -> int:
        return self._sent_bytes + super().tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        assert whence == io.SEEK_SET
        return self._sent_bytes + super().seek(offset - self._sent_bytes)

    def take(self) -> bytes:
        """Return what has not been sent yet, and forget it."""
        data = self.getvalue()
        super().seek(0)
        self.truncate()
        self._sent_bytes += len(data)
        return data
