"""How large a picture says it is, read from its header: nothing is decoded, so nothing can explode."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from itertools import islice
from struct import unpack_from

from nano_banana_mcp.images.sniff import sniff

Size = tuple[int, int]

_MOST_PARTS = 4096
"""Segments before a JPEG's frame, extents in an AVIF: no honest picture has so many."""

_JPEG_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_JPEG_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9
_NOT_FILL = re.compile(rb"[^\xff]")

_AVIF_EXTENT = re.compile(rb"\x00\x00\x00\x14ispe\x00\x00\x00\x00(.{8})", re.DOTALL)


def dimensions(data: bytes) -> Size | None:
    """Width and height in pixels, or None if the header does not tell (no picture, cut off, nonsense)."""
    reader = _READERS.get(sniff(data) or "")
    if reader is None:
        return None
    try:
        size = reader(data)
    except (struct.error, IndexError, ValueError):
        return None
    return size if size is not None and size[0] > 0 and size[1] > 0 else None


def _png(data: bytes) -> Size | None:
    if data[12:16] != b"IHDR":
        return None
    width, height = unpack_from(">II", data, 16)
    return width, height


def _gif(data: bytes) -> Size:
    width, height = unpack_from("<HH", data, 6)
    return width, height


def _bmp(data: bytes) -> Size:
    (header_size,) = unpack_from("<I", data, 14)
    # The oldest header has 16 bits a side; in the others a negative height means "top row first".
    width, height = unpack_from("<HH" if header_size == 12 else "<ii", data, 18)
    return width, abs(height)


def _webp(data: bytes) -> Size | None:
    chunk = data[12:16]
    if chunk == b"VP8X":
        (width,) = unpack_from("<I", data[24:27] + b"\0")
        (height,) = unpack_from("<I", data[27:30] + b"\0")
        return width + 1, height + 1
    if chunk == b"VP8L" and data[20] == 0x2F:
        (bits,) = unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(data: bytes) -> Size | None:
    """Walk the segments to the frame header; a thumbnail inside a segment is stepped over."""
    at = 2
    for _ in range(_MOST_PARTS):
        # Markers may be preceded by rubbish and by any number of fill bytes. Both are passed at the speed of C.
        start = _NOT_FILL.search(data, data.index(b"\xff", at))
        if start is None:
            return None
        marker, at = data[start.start()], start.end()
        if marker in _JPEG_FRAME:
            height, width = unpack_from(">HH", data, at + 3)
            return width, height
        if marker in (_JPEG_SCAN, _JPEG_END):
            return None
        if marker not in _JPEG_STANDALONE and marker != 0:
            (length,) = unpack_from(">H", data, at)
            at += max(length, 2)
    return None


def _avif(data: bytes) -> Size | None:
    """The largest extent named: the whole picture's is never smaller than that of a tile."""
    extents = [unpack_from(">II", found[1]) for found in islice(_AVIF_EXTENT.finditer(data), _MOST_PARTS)]
    if not 0 < len(extents) < _MOST_PARTS:
        return None
    width, height = max(extents, key=lambda extent: extent[0] * extent[1])
    return width, height


_READERS: dict[str, Callable[[bytes], Size | None]] = {
    "image/png": _png,
    "image/gif": _gif,
    "image/bmp": _bmp,
    "image/webp": _webp,
    "image/jpeg": _jpeg,
    "image/avif": _avif,
}
