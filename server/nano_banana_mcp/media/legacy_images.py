"""Images that earlier versions stored in the state folder. They are read where they are, so that both versions work."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nano_banana_mcp.images.formats import sniff
from nano_banana_mcp.images.image import EncodedImage

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"(?P<generation_id>in-[A-Za-z0-9_-]+)-(?P<number>\d+)\.\w+")


@dataclass(frozen=True, slots=True)
class LegacyImage:
    """A file of ``pictures/``. Its bytes exist nowhere else.

    Attributes:
        stored_at: Unix time, seconds.
    """

    path: Path
    size_bytes: int
    stored_at: float


class LegacyImages:
    """Reads ``pictures/<generation_id>-<number>.<ext>`` and the download cache ``cache/{urls,pictures}``.

    Args:
        state_folder: The folder of the ledger's file.
    """

    def __init__(self, state_folder: Path) -> None:
        self._pictures = state_folder / "pictures"
        self._cached = state_folder / "cache" / "pictures"
        self._urls = state_folder / "cache" / "urls"

    def find(self, generation_id: str, number: int, url: str | None) -> EncodedImage | None:
        """Return the bytes of an image, by its number in its generation or by its URL."""
        paths = self._pictures.glob(f"{generation_id}-{number}.*") if url is None else self._cached_paths(url)
        for path in paths:
            with contextlib.suppress(OSError):
                data = path.read_bytes()
                mime_type = sniff(data)
                if mime_type is not None and (url is None or hashlib.sha256(data).hexdigest() == path.name):
                    return EncodedImage(data, mime_type)
        return None

    def pictures(self) -> Iterator[LegacyImage]:
        """Yield the files of ``pictures/``."""
        for path in self._pictures.glob("in-*"):
            with contextlib.suppress(OSError):
                if _NAME.fullmatch(path.name):
                    status = path.stat()
                    yield LegacyImage(path, status.st_size, status.st_mtime)

    def drop_copies(self, stored: set[str], unused_since: float) -> None:
        """Delete cached downloads that the image store holds, too, once the earlier version no longer uses them.

        Args:
            stored: Names (SHA-256) of the bytes in the image store.
            unused_since: Unix time, seconds.
        """
        for path in self._cached.glob("*"):
            with contextlib.suppress(OSError):
                if path.name in stored and path.stat().st_mtime < unused_since:
                    path.unlink()

    def delete(self, generation_id: str, urls: list[str]) -> None:
        """Delete the images of a generation."""
        for path in self._pictures.glob(f"{generation_id}-*"):
            path.unlink(missing_ok=True)
        for url in urls:
            for path in self._cached_paths(url):
                path.unlink(missing_ok=True)
            self._url_path(url).unlink(missing_ok=True)

    def _url_path(self, url: str) -> Path:
        return self._urls / hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()

    def _cached_paths(self, url: str) -> list[Path]:
        try:
            name = self._url_path(url).read_text("utf-8")
        except (OSError, ValueError):
            return []
        return [self._cached / name] if _SHA256.fullmatch(name) else []
