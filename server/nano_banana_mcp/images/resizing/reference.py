"""Makes a reference image acceptable to the API: a known type, bounded pixels, bounded bytes."""

from __future__ import annotations

from nano_banana_mcp.images.formats import dimensions
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.resizing.resize import PURPOSES
from nano_banana_mcp.images.resizing.worker import shrink_in_worker

MAX_BYTES = 7_000_000
"""Base64 makes a third more of it: the API's other clients stop at 10 MB."""

MAX_PIXELS = PURPOSES["reference"].max_pixels

_MAX_SECONDS = 60.0


async def fit_reference(image: EncodedImage, *, max_side: int, max_bytes: int = MAX_BYTES) -> EncodedImage:
    """Return the image as it is if it fits, else a smaller one: upright, without metadata.

    Args:
        max_side: Longest side in pixels.

    Raises:
        ImageError: It must be shrunk and cannot be.
    """
    size = dimensions(image.data)
    fits = size is not None and max(size) <= max_side and size[0] * size[1] <= MAX_PIXELS
    if fits and len(image.data) <= max_bytes and image.mime_type in PURPOSES["reference"].unchanged_types:
        return image
    return await shrink_in_worker(
        image, max_side=max_side, max_bytes=max_bytes, purpose="reference", max_seconds=_MAX_SECONDS
    )
