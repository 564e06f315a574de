"""A ledger with the methods that the image store uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger.base import Ledger


@dataclass
class ImageLedger:
    """Generations by URL, and images where ``stores_images`` is set. Every id has a row unless it is in ``deleted``."""

    stores_images: bool = False
    generations: list[Generation] = field(default_factory=list)
    images: dict[tuple[str, int], EncodedImage] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)

    async def find(self, public_id: str, principal: str | None = None) -> Generation | None:
        return None if public_id in self.deleted else Generation(public_id)

    async def find_image(self, url: str, principal: str = "") -> Generation | None:
        for generation in self.generations:
            if generation.principal == principal and url in [image.url for image in generation.images]:
                return generation
        return None

    async def save_image(self, generation_id: str, number: int, image: EncodedImage) -> None:
        self.images[generation_id, number] = image

    async def load_image(self, generation_id: str, number: int) -> EncodedImage | None:
        return self.images.get((generation_id, number))

    async def load_upload(self, reference_id: str) -> bytes | None:
        return None

    def as_ledger(self) -> Ledger:
        """This object, typed as the ledger that it stands in for."""
        return cast("Ledger", self)
