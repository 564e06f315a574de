"""Makes a reference picture comfortable for the API: of a known type, not longer than need be, and not too heavy."""

from __future__ import annotations

import base64

from nano_banana_mcp.images.formats import dimensions
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.resizing.resize import PURPOSES

MAX_BYTES = 7_000_000
"""As base64 that is a third more: the API's other clients stop at 10 MB."""

MAX_PIXELS = PURPOSES["reference"].max_pixels

_MAX_SECONDS = 60.0


async def comfortable(encoded: EncodedImage, *, max_side: int, max_bytes: int = MAX_BYTES) -> EncodedImage:
    """``encoded`` as it is, if it is comfortable, else a smaller one: upright, without what cameras write beside it.

    Args:
        max_side: The longest side, in pixels.

    Raises:
        ImageError: it has to be made smaller, and cannot be (see
            :func:`~nano_banana_mcp.images.resizing.worker.shrink_aside`, which does it in another process).
    """
    size = dimensions(encoded.data)
    fits = size is not None and max(size) <= max_side and size[0] * size[1] <= MAX_PIXELS
    if fits and len(encoded.data) <= max_bytes and encoded.mime_type in PURPOSES["reference"].kept:
        return encoded
    from nano_banana_mcp.images.resizing.worker import shrink_aside

    return await shrink_aside(
        encoded, max_side=max_side, max_bytes=max_bytes, purpose="reference", longest_seconds=_MAX_SECONDS
    )


def data_uri(encoded: EncodedImage) -> str:
    """The picture as text."""
    return f"data:{encoded.mime_type};base64,{base64.b64encode(encoded.data).decode('ascii')}"
