"""A picture: bytes that were looked at, and the type that they proved to be."""

from __future__ import annotations

from dataclasses import dataclass

from nano_banana_mcp.images.errors import NotAPicture, PictureTooLarge
from nano_banana_mcp.images.sniff import describe, dimensions, sniff

MAX_BYTES = 20 * 1024 * 1024
MAX_PIXELS = 100_000_000
"""Six times a 4k picture; decoded it takes 400 MB."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of a picture and their MIME type."""

    data: bytes
    mime_type: str


def picture_of(data: bytes, *, source: str, max_pixels: int = MAX_PIXELS) -> Picture:
    """Look at bytes and make a picture of them.

    Args:
        data: The whole file.
        source: Where it comes from, for messages: the subject of "holds a web page".
        max_pixels: The most pixels that it may claim to have.

    Raises:
        NotAPicture: they are none that is known here.
        PictureTooLarge: it has too many pixels.
    """
    mime_type = require_picture(data, source=source)
    # A header that is not understood here may be by whoever shows the picture, and it may have been paid for.
    size = dimensions(data)
    if size is not None and size[0] * size[1] > max_pixels:
        raise PictureTooLarge(
            f"{source} claims {size[0]} x {size[1]} pixels; at most {max_pixels // 1_000_000} million are accepted."
        )
    return Picture(data, mime_type)


def require_picture(head: bytes, *, source: str) -> str:
    """The MIME type by the first :data:`~nano_banana_mcp.images.sniff.HEAD_BYTES` bytes.

    Raises:
        NotAPicture: they are none that is known here.
    """
    mime_type = sniff(head)
    if mime_type is None:
        raise NotAPicture(f"{source} holds {describe(head)}, not a picture.")
    return mime_type


def too_many_bytes(source: str, max_bytes: int) -> PictureTooLarge:
    """The error for a file above the cap."""
    return PictureTooLarge(f"{source} is larger than {max_bytes / 1024 / 1024:.3g} MB.")
