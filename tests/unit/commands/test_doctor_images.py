"""The report of ``doctor`` on the stored images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nano_banana_mcp.commands.checks import examine
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.media.image_folder import ImageFolder
from nano_banana_mcp.settings import load_settings
from tests.support.image_samples import large_png


async def images_line(state: Path, **settings: Any) -> str:
    findings = await examine(load_settings(sandbox=True, state_dir=state, **settings))
    [line] = [finding.text for finding in findings if finding.subject == "images"]
    return line


async def test_doctor_reports_where_the_images_are_stored_and_their_size(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    assert await images_line(tmp_path) == f"0 pictures, 0.0 MB (no limit) in {folder}"
    image = EncodedImage(large_png(250_000), "image/png")
    ImageFolder(folder).store("in-1", 0, image, is_only_copy=True, stored_at=0.0)
    assert await images_line(tmp_path, keep_megabytes=2.5) == f"1 picture, 0.2 MB (limit 2.5 MB) in {folder}"
