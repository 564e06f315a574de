"""An image to save, and the files of an output folder."""

from __future__ import annotations

import json
from pathlib import Path

from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.saving.metadata import ImageMetadata
from nano_banana_mcp.images.saving.output_folder import LINES
from tests.support.image_samples import drawn

FACTS = ImageMetadata(
    task_id="ta1",
    number=0,
    created_at=1_795_000_000.0,
    prompt="a lighthouse\nat dawn",
    model="google/gempix2",
    url="https://example.com/a.png",
    credits="0.500000",
)
PNG = EncodedImage(drawn("PNG"), "image/png")


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / LINES).read_text(encoding="utf-8").splitlines()]


def encoded_images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != LINES)
