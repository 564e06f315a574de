"""What was paid for, and what became of it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.images.picture import Picture

MOST_GENERATIONS = 2_000
MOST_PICTURE_BYTES = 256 * 1024 * 1024


class Ledger(Protocol):
    """Keeps generations, and the pictures that have no URL of their own."""

    def save(self, generation: Generation, pictures: dict[int, Picture] | None = None) -> None:
        """Keep ``generation`` in its present state, and the bytes of its pictures by number."""

    def find(self, task_id: str) -> Generation | None:
        """The generation with this id."""

    def find_image(self, url: str) -> tuple[Generation, int] | None:
        """The generation, and the number in it, of a picture at exactly this URL."""

    def picture(self, task_id: str, number: int) -> Picture | None:
        """The bytes of a picture that came without a URL."""

    def recent(self, limit: int) -> list[Generation]:
        """The newest generations, newest first."""


class MemoryLedger:
    """A ledger that lives as long as the process. Bounded: finished generations go first, oldest first."""

    def __init__(self) -> None:
        self._generations: OrderedDict[str, Generation] = OrderedDict()
        self._by_url: dict[str, tuple[str, int]] = {}
        self._pictures: OrderedDict[tuple[str, int], Picture] = OrderedDict()
        self._picture_bytes = 0

    def save(self, generation: Generation, pictures: dict[int, Picture] | None = None) -> None:
        """See :class:`Ledger`."""
        self._generations[generation.task_id] = generation
        for number, image in enumerate(generation.images):
            if image.url is not None:
                self._by_url[image.url] = (generation.task_id, number)
        for number, picture in (pictures or {}).items():
            self._forget_picture((generation.task_id, number))
            self._pictures[generation.task_id, number] = picture
            self._picture_bytes += len(picture.data)
        self._prune()

    def find(self, task_id: str) -> Generation | None:
        """See :class:`Ledger`."""
        return self._generations.get(task_id)

    def find_image(self, url: str) -> tuple[Generation, int] | None:
        """See :class:`Ledger`."""
        place = self._by_url.get(url)
        return (self._generations[place[0]], place[1]) if place else None

    def picture(self, task_id: str, number: int) -> Picture | None:
        """See :class:`Ledger`."""
        return self._pictures.get((task_id, number))

    def recent(self, limit: int) -> list[Generation]:
        """See :class:`Ledger`."""
        newest_first = reversed(self._generations.values())
        return [generation for _, generation in zip(range(limit), newest_first, strict=False)]

    def _prune(self) -> None:
        while self._picture_bytes > MOST_PICTURE_BYTES and len(self._pictures) > 1:
            self._forget_picture(next(iter(self._pictures)))
        surplus = len(self._generations) - MOST_GENERATIONS
        if surplus > 0:
            finished = [known.task_id for known in self._generations.values() if known.finished]
            for task_id in finished[:surplus]:
                self._forget(task_id)

    def _forget(self, task_id: str) -> None:
        for number, image in enumerate(self._generations.pop(task_id).images):
            self._forget_picture((task_id, number))
            if image.url is not None:
                self._by_url.pop(image.url, None)

    def _forget_picture(self, place: tuple[str, int]) -> None:
        picture = self._pictures.pop(place, None)
        if picture is not None:
            self._picture_bytes -= len(picture.data)
