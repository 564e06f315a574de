"""The pictures that came without a URL, as files beside the ledger."""

from __future__ import annotations

import os
from pathlib import Path

from nano_banana_mcp.images.picture import Picture
from nano_banana_mcp.images.sniff import extension_for, sniff


class PictureFiles:
    """Pictures in ``folder``, named by their generation's intent id and their number in it. Readable by the user only.

    Raises:
        OSError: the disk fails; so do all methods.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, intent_id: str, number: int, picture: Picture) -> None:
        """Write a picture, whole or not at all."""
        self._folder.mkdir(exist_ok=True, mode=0o700)
        path = self._folder / f"{intent_id}-{number}{extension_for(picture.mime_type)}"
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(picture.data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)  # half a picture only takes the room that the whole one needs
            raise

    def find(self, intent_id: str, number: int) -> Picture | None:
        """A picture's bytes."""
        for path in self._folder.glob(f"{intent_id}-{number}.*"):
            data = path.read_bytes()
            return Picture(data, sniff(data) or "application/octet-stream")
        return None

    def sizes(self) -> dict[str, int]:
        """Bytes taken by each generation's pictures, by intent id."""
        sizes: dict[str, int] = {}
        for path in self._folder.glob("in-*"):
            intent_id = path.stem.rpartition("-")[0]
            sizes[intent_id] = sizes.get(intent_id, 0) + path.stat().st_size
        return sizes

    def sweep(self, older_than: float) -> None:
        """Delete what a killed process left half written before ``older_than`` (Unix time)."""
        for path in self._folder.glob(".in-*"):
            if path.stat().st_mtime < older_than:
                path.unlink(missing_ok=True)

    def remove(self, intent_id: str) -> None:
        """Delete a generation's pictures."""
        for path in self._folder.glob(f"{intent_id}-*"):
            path.unlink(missing_ok=True)
