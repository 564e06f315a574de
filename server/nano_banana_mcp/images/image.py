"""An encoded image: bytes that were checked, and the MIME type that they have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nano_banana_mcp.images.errors import ImageTooLarge, NotAnImage
from nano_banana_mcp.images.formats import advice_for, describe, dimensions, sniff

MAX_BYTES = 20 * 1024 * 1024
"""Bytes of one image."""

MAX_PIXELS = 100_000_000
"""Pixels of one image: six times a 4K image. Decoded it takes 400 MB."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """The bytes of an image file and their MIME type."""

    data: bytes
    mime_type: str


def image_from_bytes(data: bytes, *, source: str, max_pixels: int = MAX_PIXELS) -> EncodedImage:
    """Check bytes and return them as an image.

    Args:
        data: The whole file.
        source: Where it comes from, for messages: the subject of "holds a web page".
        max_pixels: Pixels that its header may claim.

    Raises:
        NotAnImage: The bytes are not of a known image format.
        ImageTooLarge: The image has too many pixels.
    """
    mime_type = require_image(data, source=source)
    # A header without a readable size is accepted: the image may have been paid for, and a viewer may understand it.
    size = dimensions(data)
    if size is not None and size[0] * size[1] > max_pixels:
        raise ImageTooLarge(
            f"{source} claims {size[0]} x {size[1]} pixels; at most {max_pixels // 1_000_000} million are accepted."
        )
    return EncodedImage(data, mime_type)


def require_image(head: bytes, *, source: str) -> str:
    """Return the MIME type by the first :data:`~nano_banana_mcp.images.formats.HEAD_BYTES` bytes.

    Raises:
        NotAnImage: The bytes are not of a known image format.
    """
    mime_type = sniff(head)
    if mime_type is None:
        raise NotAnImage(f"{source} holds {describe(head)}, not a picture.", hint=advice_for(head))
    return mime_type


def too_many_bytes(source: str, max_bytes: int) -> ImageTooLarge:
    """Return the error for a file above the limit."""
    return ImageTooLarge(f"{source} is larger than {max_bytes / 1024 / 1024:.3g} MB.")


def is_truncated(data: bytes, mime_type: str) -> bool:
    """Return whether the format itself says that bytes are missing: HTTP without a length cannot say so."""
    match mime_type:
        case "image/png":
            return data[12:16] == b"IHDR" and all(kind != b"IEND" for _, kind in _png_chunks(data))
        case "image/jpeg":
            scan = _first_scan(data)
            return scan >= 0 and data.find(b"\xff\xd9", scan) < 0
        case "image/webp":
            return len(data) < _webp_length(data)
        case _:
            return False


def may_have_all_pixels(data: bytes, mime_type: str) -> bool:
    """Return whether a truncated file may lack no more than what follows its pixels, which some programs leave out.

    Of a JPEG file only decoding can tell, so it may.
    """
    match mime_type:
        case "image/png":
            return [end for end, _ in _png_chunks(data)][-1:] == [len(data)]
        case "image/webp":
            return len(data) == _webp_length(data) - 1  # the byte that makes a chunk even
        case _:
            return mime_type == "image/jpeg"


def _png_chunks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield where each chunk of a PNG file ends by its own length, and its kind."""
    position = 8
    while position + 8 <= len(data):
        kind = data[position + 4 : position + 8]
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        yield position, kind


def _webp_length(data: bytes) -> int:
    return 8 + int.from_bytes(data[4:8], "little")


def _first_scan(data: bytes) -> int:
    """Return the position of the first scan of a JPEG file, or -1. Previews inside segments are stepped over."""
    position = 2
    while data[position : position + 1] == b"\xff":
        marker = data[position + 1 : position + 2]
        if marker == b"\xda":
            return position
        position += 1 if marker == b"\xff" else 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    return data.find(b"\xff\xda") if position < len(data) else -1
