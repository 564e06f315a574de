"""Undoes the encoding of a body that was sent encoded although none was asked for. The bytes decide, not the label."""

from __future__ import annotations

import re
import zlib

from nano_banana_mcp.images.errors import ImageUnavailable
from nano_banana_mcp.images.formats import sniff
from nano_banana_mcp.images.image import too_many_bytes

MAX_LAYERS = 3
"""Encodings of one body, one inside the other."""

_GZIP = b"\x1f\x8b"
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_CHUNK_HEAD = re.compile(rb"([0-9a-fA-F]{1,8})(;[^\r\n]{0,512})?\r\n")
"""As in ``aws-chunked`` bodies, which some storage services hand out as they were uploaded."""

_GZIP_OR_ZLIB_WBITS = 47
_RAW_DEFLATE_WBITS = -15


def is_encoded(head: bytes, label: str) -> bool:
    """Return whether a body may be encoded.

    Args:
        head: Its first bytes.
        label: Its ``Content-Encoding``.
    """
    if sniff(head) is not None:
        return False
    return _has_label(label) or head.startswith((_GZIP, *_ZLIB)) or _CHUNK_HEAD.match(head) is not None


def decode_body(body: bytes, label: str, *, max_bytes: int, source: str) -> bytes:
    """Return a body without its encodings.

    Args:
        label: Its ``Content-Encoding``, which may be wrong.
        max_bytes: Maximum size of the result.
        source: Where it comes from, for messages.

    Raises:
        ImageTooLarge: The result is too large.
        ImageUnavailable: It is encoded in a way that cannot be undone here.
    """
    for _ in range(MAX_LAYERS):
        if not is_encoded(body, label):
            return body
        if body.startswith((_GZIP, *_ZLIB)):
            body = _inflate(body, _GZIP_OR_ZLIB_WBITS, max_bytes, source)
        elif _CHUNK_HEAD.match(body):
            body = _join_chunks(body)
        elif "deflate" in label.lower():
            body = _inflate(body, _RAW_DEFLATE_WBITS, max_bytes, source)
        else:
            break
    if _has_label(label) and sniff(body) is None:
        raise ImageUnavailable(
            f"{source} is compressed ({label[:40]}), which cannot be undone here.",
            hint="The picture may be fine: open its URL in a browser.",
        )
    return body


def _has_label(label: str) -> bool:
    return label.strip().lower() not in ("", "identity")


def _inflate(body: bytes, wbits: int, max_bytes: int, source: str) -> bytes:
    data = bytearray()
    while body:
        decoder = zlib.decompressobj(wbits)
        try:
            data += decoder.decompress(body, max_bytes + 1 - len(data))
        except zlib.error:
            break  # what follows is no further member
        if len(data) > max_bytes:
            raise too_many_bytes(source, max_bytes)
        if not decoder.eof:
            raise ImageUnavailable(f"{source} breaks off in the middle of the compressed picture.")
        body = decoder.unused_data
    return bytes(data)


def _join_chunks(body: bytes) -> bytes:
    parts, at = [], 0
    while match := _CHUNK_HEAD.match(body, at):
        end = match.end() + int(match[1], 16)
        if end == match.end():
            break
        parts.append(body[match.end() : end])
        at = end + 2
    return b"".join(parts)
