"""A picture: bytes that were looked at, and the type that they proved to be. Also as text: ``data:…``."""

from __future__ import annotations

import binascii
import contextlib
import functools
import re
import sys
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from nano_banana_mcp.images.errors import BadDataUri, ImageTooLarge, NotAnImage
from nano_banana_mcp.images.formats import describe, dimensions, sniff

MAX_BYTES = 20 * 1024 * 1024
MAX_PIXELS = 100_000_000
"""Six times a 4k picture; decoded it takes 400 MB."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """The bytes of a picture and their MIME type."""

    data: bytes
    mime_type: str


def image_from_bytes(data: bytes, *, source: str, max_pixels: int = MAX_PIXELS) -> EncodedImage:
    """Look at bytes and make a picture of them.

    Args:
        data: The whole file.
        source: Where it comes from, for messages: the subject of "holds a web page".
        max_pixels: The most pixels that it may claim to have.

    Raises:
        NotAnImage: they are none that is known here.
        ImageTooLarge: it has too many pixels.
    """
    mime_type = require_image(data, source=source)
    # A header that is not understood here may be by whoever shows the picture, and it may have been paid for.
    size = dimensions(data)
    if size is not None and size[0] * size[1] > max_pixels:
        raise ImageTooLarge(
            f"{source} claims {size[0]} x {size[1]} pixels; at most {max_pixels // 1_000_000} million are accepted."
        )
    return EncodedImage(data, mime_type)


def require_image(head: bytes, *, source: str) -> str:
    """The MIME type by the first :data:`~nano_banana_mcp.images.formats.HEAD_BYTES` bytes.

    Raises:
        NotAnImage: they are none that is known here.
    """
    mime_type = sniff(head)
    if mime_type is None:
        raise NotAnImage(f"{source} holds {describe(head)}, not a picture.")
    return mime_type


def too_many_bytes(source: str, max_bytes: int) -> ImageTooLarge:
    """The error for a file above the cap."""
    return ImageTooLarge(f"{source} is larger than {max_bytes / 1024 / 1024:.3g} MB.")


def breaks_off(data: bytes, mime_type: str) -> bool:
    """Whether the format itself says that more should follow. HTTP does not always tell: without a length, an answer
    ends with its connection.
    """
    match mime_type:
        case "image/png":
            return _png_breaks_off(data)
        case "image/jpeg":
            # After the last scan begins, its end has to come. Previews within have scans and ends of their own.
            scan = data.rfind(b"\xff\xda")
            return scan >= 0 and data.find(b"\xff\xd9", scan) < 0
        case "image/webp":
            return len(data) < 8 + int.from_bytes(data[4:8], "little")
        case _:
            return False


def _png_breaks_off(data: bytes) -> bool:
    place = 8
    if data[place + 4 : place + 8] != b"IHDR":
        return False
    while place + 8 <= len(data):
        if data[place + 4 : place + 8] == b"IEND":
            return False
        place += 12 + int.from_bytes(data[place : place + 4], "big")
    return True


_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 1_048_576


@functools.cache
def give_back_large_blocks() -> None:
    """Have glibc map blocks of a megabyte and more by themselves, once and for all.

    Left alone, it raises that bound to the largest block that was ever freed, and keeps the next ones of that size:
    measured, some 18 to 34 MB after pictures of 16 MB. Other allocators are left as they are.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(ImportError, AttributeError, MemoryError, OSError):  # musl has none; hardened units forbid
        import ctypes

        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


_SOURCE = "The data URI"
_HEADER = re.compile(r"data:([^,]{0,256});base64,", re.IGNORECASE)
_IMAGE_HEADER = re.compile(r"data:image/[a-z0-9][a-z0-9.+-]{0,63}(;[^,;]{1,64}){0,4};base64,\S", re.IGNORECASE)

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_WHITESPACE = b" \t\r\n\f"


def is_image_data_uri(uri: str) -> bool:
    """Whether the text looks like a base64 data URI of a picture. Reads its beginning only."""
    return _IMAGE_HEADER.match(uri) is not None


def decode_data_uri(uri: str, *, max_bytes: int = MAX_BYTES) -> EncodedImage:
    """Decode a base64 data URI. Its bytes decide the type, whatever its label says.

    White space, percent-escapes, the URL-safe alphabet and missing padding are tolerated.

    Raises:
        BadDataUri: it is not a base64 data URI.
        ImageTooLarge: it has too many bytes (found out before decoding) or pixels.
        NotAnImage: it holds something else.
    """
    header = _HEADER.match(uri)
    if header is None:
        raise BadDataUri("The text is not a base64 data URI.")
    encoded = _base64_of(uri, header.end(), max_bytes)
    padding = b"=" * (-len(encoded) % 4)
    try:
        data = binascii.a2b_base64(encoded + padding, strict_mode=True)
    except binascii.Error:
        raise BadDataUri("The data URI's base64 is broken.") from None
    return image_from_bytes(data, source=_SOURCE)


def _base64_of(uri: str, start: int, max_bytes: int) -> bytes:
    """What stands after the comma in the plain alphabet, without padding, and not too much of it."""
    longest = -(-max_bytes * 4 // 3)
    # The first look allows for line breaks and a few escapes; it spares the copies of something huge.
    if len(uri) - start > longest + longest // 8 + 64:
        raise too_many_bytes(_SOURCE, max_bytes)
    try:
        encoded = uri[start:].encode("ascii")
    except UnicodeEncodeError:
        raise BadDataUri("The data URI's base64 is broken.") from None
    if b"%" in encoded:
        encoded = unquote_to_bytes(encoded)
    encoded = encoded.translate(_URL_SAFE, _WHITESPACE).rstrip(b"=")
    if not encoded:
        raise BadDataUri("The data URI is empty.")
    if len(encoded) > longest:
        raise too_many_bytes(_SOURCE, max_bytes)
    return encoded
