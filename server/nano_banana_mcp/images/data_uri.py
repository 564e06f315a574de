"""Images as text: data URIs with any label or none, and bare base64. Their bytes decide what they are."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from nano_banana_mcp.images.download.content_encoding import MAX_LAYERS, decode_body
from nano_banana_mcp.images.errors import BadDataUri
from nano_banana_mcp.images.formats import sniff
from nano_banana_mcp.images.image import MAX_BYTES, EncodedImage, image_from_bytes, too_many_bytes

_PREFIX = re.compile(
    r"""[\s"']*(?:data:\s*)?(?P<label>(?:[^,"']|"[^"]{0,256}"){0,256}?)(?:;\s*)?base64\s*[,:]""", re.IGNORECASE
)
"""``data:image/png;base64,`` and what programs make of it: without ``data:``, or twice."""

_PLAIN = re.compile(r"\s*data:(?P<label>[^,]{0,256}),", re.IGNORECASE)
"""A data URI without ``;base64``: percent-encoded bytes, or base64 all the same."""

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_WHITESPACE = b" \t\r\n\f\v\"'"
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2}){16,}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\s-]{64,}={0,2}\s*")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")


def read_image(text: str, *, max_bytes: int = MAX_BYTES, source: str = "The data URI") -> EncodedImage:
    """Decode an image that is passed as text: a data URI with any label or none, or bare base64.

    White space, percent-escapes, the URL-safe alphabet, missing padding and a doubled prefix are accepted.

    Args:
        max_bytes: Maximum size of the image, checked before decoding.
        source: What the text is, for messages: the subject of "holds a web page".

    Raises:
        BadDataUri: It is not base64.
        ImageTooLarge: It has too many bytes or pixels.
        NotAnImage: It holds something else.
    """
    start, prefix = 0, _PREFIX.match(text, 0, 600)
    if prefix is None and (plain := _PLAIN.match(text, 0, 600)):
        start = plain.end()
        if "%" in text[start : start + 64]:
            _require_length(text, start, 3 * max_bytes, max_bytes, source)
            data = unquote_to_bytes(text[start:])
            if sniff(data) is not None:
                return image_from_bytes(data, source=source)
    while prefix is not None:
        start = prefix.end()
        prefix = _PREFIX.match(text, start, start + 600)
    data = _decode(text, start, max_bytes, source)
    for _ in range(MAX_LAYERS):
        if sniff(data) is not None:
            break
        data = _unpacked(data, max_bytes, source)
    return image_from_bytes(data, source=source)


def read_base64(text: str, *, source: str) -> bytes:
    """Decode base64 that a program made: exact, without white space.

    Args:
        source: What the text is, for messages: the subject of "is not base64".

    Raises:
        BadDataUri: It is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise BadDataUri(f"{source} is not base64.", hint="Send the picture again.") from None


def label_of(text: str) -> str | None:
    """Return the media type that a data URI claims; None if it claims none or is no data URI."""
    match = _PREFIX.match(text, 0, 600) or _PLAIN.match(text, 0, 600)
    return (match["label"].partition(";")[0].strip().lower() or None) if match else None


def to_data_uri(image: EncodedImage) -> str:
    """Return the image as a base64 data URI."""
    return f"data:{image.mime_type};base64,{base64.b64encode(image.data).decode('ascii')}"


def _decode(text: str, start: int, max_bytes: int, source: str) -> bytes:
    # Line breaks and a few escapes are allowed for; a text that is far too long is not even copied.
    max_characters = -(-max_bytes * 4 // 3)
    _require_length(text, start, max_characters + max_characters // 8 + 64, max_bytes, source)
    encoded = text[start:].encode("ascii", "replace")
    if b"%" in encoded:
        encoded = unquote_to_bytes(encoded)
    parts = encoded.strip().split(b" ")
    if b"\n" not in encoded and any(len(part) % 4 or len(part) != len(parts[0]) for part in parts[:-1]):
        encoded = b"+".join(parts)  # not lines of one length, but plus signs that a form has decoded
    encoded = encoded.translate(_URL_SAFE, _WHITESPACE).rstrip(b"=")
    if _HEX.fullmatch(encoded) and sniff(data := bytes.fromhex(encoded.decode())) is not None:
        return data
    if not encoded:
        raise BadDataUri(f"{source} is empty.")
    if len(encoded) > max_characters:
        raise too_many_bytes(source, max_bytes)
    try:
        return binascii.a2b_base64(encoded + b"=" * (-len(encoded) % 4), strict_mode=True)
    except binascii.Error:
        data = _decode_leniently(encoded)
        if sniff(data) is None:
            raise BadDataUri(f"{source} has broken base64.") from None
        return data


def _unpacked(data: bytes, max_bytes: int, source: str) -> bytes:
    """Undo one layer of packing: gzip, zlib, base64 or a data URI; other data stay as they are."""
    inflated = decode_body(data, "", max_bytes=max_bytes, source=source)
    if inflated != data or not (text := data.lstrip()).isascii():
        return inflated
    if text.startswith(b"data:") or _BASE64.fullmatch(text):
        return _decode_leniently(text.partition(b",")[2] or text)
    return data


def _decode_leniently(encoded: bytes) -> bytes:
    """Decode what is there, without characters that are not base64 and without a last one that is too many."""
    characters = _NOT_BASE64.sub(b"", encoded.translate(_URL_SAFE))
    characters = characters[: len(characters) - (len(characters) % 4 == 1)]
    return binascii.a2b_base64(characters + b"=" * (-len(characters) % 4))


def _require_length(text: str, start: int, max_characters: int, max_bytes: int, source: str) -> None:
    if len(text) - start > max_characters:
        raise too_many_bytes(source, max_bytes)
