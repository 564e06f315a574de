"""Images as text: base64 data URIs, and the base64 that clients write instead."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from nano_banana_mcp.images.errors import BadDataUri
from nano_banana_mcp.images.image import MAX_BYTES, EncodedImage, image_from_bytes, too_many_bytes

_SOURCE = "The data URI"
_HEADER = re.compile(r"data:([^,]{0,256});base64,", re.IGNORECASE)
_IMAGE_HEADER = re.compile(r"data:image/[a-z0-9][a-z0-9.+-]{0,63}(;[^,;]{1,64}){0,4};base64,\S", re.IGNORECASE)

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_WHITESPACE = b" \t\r\n\f"


def is_image_data_uri(uri: str) -> bool:
    """Return whether text looks like a base64 data URI of an image. Reads its beginning only."""
    return _IMAGE_HEADER.match(uri) is not None


def decode_data_uri(uri: str, *, max_bytes: int = MAX_BYTES) -> EncodedImage:
    """Decode a base64 data URI. Its bytes decide the MIME type, not its label.

    White space, percent-escapes, the URL-safe alphabet and missing padding are accepted.

    Raises:
        BadDataUri: It is not a base64 data URI.
        ImageTooLarge: It has too many bytes (found before decoding) or pixels.
        NotAnImage: It holds something else.
    """
    header = _HEADER.match(uri)
    if header is None:
        raise BadDataUri("The text is not a base64 data URI.")
    return _decode(uri, header.end(), max_bytes)


def read_image(text: str, *, max_bytes: int = MAX_BYTES) -> EncodedImage:
    """Decode an image that a client passes as text: a data URI with any label or none, or bare base64.

    Raises:
        BadDataUri: It is not base64.
        ImageTooLarge: It has too many bytes (found before decoding) or pixels.
        NotAnImage: It holds something else.
    """
    start = 0
    if text[:64].lstrip()[:5].lower() == "data:":
        comma = text.find(",", 0, 512)
        if comma < 0:
            raise BadDataUri("The data URI has no comma, so it has no data.")
        start = comma + 1
    return _decode(text, start, max_bytes)


def to_data_uri(image: EncodedImage) -> str:
    """Return the image as a base64 data URI."""
    return f"data:{image.mime_type};base64,{base64.b64encode(image.data).decode('ascii')}"


def _decode(text: str, start: int, max_bytes: int) -> EncodedImage:
    encoded = _base64_of(text, start, max_bytes)
    padding = b"=" * (-len(encoded) % 4)
    try:
        data = binascii.a2b_base64(encoded + padding, strict_mode=True)
    except binascii.Error:
        raise BadDataUri("The data URI's base64 is broken.") from None
    return image_from_bytes(data, source=_SOURCE)


def _base64_of(text: str, start: int, max_bytes: int) -> bytes:
    """Return the base64 in the standard alphabet, without white space and padding."""
    max_characters = -(-max_bytes * 4 // 3)
    # The first check allows for line breaks and a few escapes; it avoids copying a text that is far too long.
    if len(text) - start > max_characters + max_characters // 8 + 64:
        raise too_many_bytes(_SOURCE, max_bytes)
    try:
        encoded = text[start:].encode("ascii")
    except UnicodeEncodeError:
        raise BadDataUri("The data URI's base64 is broken.") from None
    if b"%" in encoded:
        encoded = unquote_to_bytes(encoded)
    encoded = encoded.translate(_URL_SAFE, _WHITESPACE).rstrip(b"=")
    if not encoded:
        raise BadDataUri("The data URI is empty.")
    if len(encoded) > max_characters:
        raise too_many_bytes(_SOURCE, max_bytes)
    return encoded
