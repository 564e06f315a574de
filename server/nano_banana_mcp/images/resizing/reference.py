"""Makes a reference image ready for the API: upright, without metadata, of a known type, bounded in size."""

from __future__ import annotations

from importlib.util import find_spec

from nano_banana_mcp.images.errors import NotAnImage
from nano_banana_mcp.images.formats import DECODABLE_TYPES, advice_for, describe, dimensions
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.metadata_removal import without_metadata
from nano_banana_mcp.images.resizing.resize import PURPOSES
from nano_banana_mcp.images.resizing.worker import shrink_in_worker

MAX_BYTES = 7_000_000
"""Base64 makes a third more of it: the API's other clients stop at 10 MB."""

MAX_PIXELS = PURPOSES["reference"].max_pixels

_MAX_SECONDS = 60.0
_CMYK_FRAME = b"\x04"


async def normalize_upload(image: EncodedImage, *, max_side: int) -> EncodedImage:
    """Return a new file with the image in it: upright, without metadata, of a type that models accept.

    Args:
        max_side: Longest side in pixels.

    Raises:
        ImageError: It cannot be decoded.
    """
    require_decodable(image, "The upload")
    return await shrink_in_worker(
        image, max_side=max_side, max_bytes=MAX_BYTES, purpose="upload", max_seconds=_MAX_SECONDS
    )


async def fit_reference(image: EncodedImage, *, max_side: int, max_bytes: int = MAX_BYTES) -> EncodedImage:
    """Return the image ready for the API: upright, without EXIF, XMP, texts and trailers, in RGB.

    The pixels of an image that fits and is upright stay as they are.

    Args:
        max_side: Longest side in pixels.

    Raises:
        ImageError: It cannot be decoded, or not be made so small.
    """
    require_decodable(image, "The reference picture")
    size = dimensions(image.data)
    fits = size is not None and max(size) <= max_side and size[0] * size[1] <= MAX_PIXELS
    if fits and image.mime_type in PURPOSES["reference"].unchanged_types:
        try:
            bare = without_metadata(image)
            fits = len(bare.data) <= max_bytes
            # By EXIF data it may have to be rotated, and a large colour profile has to be applied.
            if fits and without_metadata(image, for_decoding=True) == bare and not _is_cmyk(bare):
                return bare
        except ValueError:
            pass  # the worker decides whether the pixels are whole
    return await shrink_in_worker(
        image, max_side=max_side, max_bytes=max_bytes, purpose="reference", max_seconds=_MAX_SECONDS
    )


def require_decodable(image: EncodedImage, source: str) -> None:
    """Refuse an image of a format that cannot be decoded here.

    Args:
        source: What the image is, for messages.

    Raises:
        NotAnImage: It cannot.
    """
    if image.mime_type in DECODABLE_TYPES or (image.mime_type == "image/heic" and find_spec("pillow_heif")):
        return
    raise NotAnImage(
        f"{source} is {describe(image.data)}, which this server cannot convert.", hint=advice_for(image.data)
    )


def _is_cmyk(image: EncodedImage) -> bool:
    """Return whether a JPEG file has four colour components."""
    if image.mime_type != "image/jpeg":
        return False
    data, at = image.data, 2
    while data[at + 1] not in range(0xC0, 0xD0) or data[at + 1] in (0xC4, 0xC8, 0xCC):
        if data[at + 1] == 0xDA:
            return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[at + 9 : at + 10] == _CMYK_FRAME
