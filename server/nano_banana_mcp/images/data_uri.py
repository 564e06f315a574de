"""Pictures that come as text: ``data:image/png;base64,…``."""

from __future__ import annotations

import binascii
import re
from urllib.parse import unquote_to_bytes

from nano_banana_mcp.images.errors import BadDataUri
from nano_banana_mcp.images.picture import MAX_BYTES, Picture, picture_of, too_many_bytes

_SOURCE = "The data URI"
_HEADER = re.compile(r"data:([^,]{0,256});base64,", re.IGNORECASE)
_IMAGE_HEADER = re.compile(r"data:image/[a-z0-9][a-z0-9.+-]{0,63}(;[^,;]{1,64}){0,4};base64,\S", re.IGNORECASE)

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_WHITESPACE = b" \t\r\n\f"


def is_image_data_uri(uri: str) -> bool:
    """Whether the text looks like a base64 data URI of a picture. Reads its beginning only."""
    return _IMAGE_HEADER.match(uri) is not None


def decode_data_uri(uri: str, *, max_bytes: int = MAX_BYTES) -> Picture:
    """Decode a base64 data URI. Its bytes decide the type, whatever its label says.

    White space, percent-escapes, the URL-safe alphabet and missing padding are tolerated.

    Raises:
        BadDataUri: it is not a base64 data URI.
        PictureTooLarge: it has too many bytes (found out before decoding) or pixels.
        NotAPicture: it holds something else.
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
    return picture_of(data, source=_SOURCE)


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
