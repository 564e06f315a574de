"""What a picture's first bytes tell: its kind (labels lie), and how large it says it is. Nothing is decoded."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from itertools import islice
from pathlib import PurePosixPath
from struct import unpack_from
from urllib.parse import urlsplit

HEAD_BYTES = 512
"""So many bytes are enough for :func:`sniff` and :func:`describe`."""

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}

_EXTENSIONS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/avif": ".avif",
    "image/bmp": ".bmp",
}

_TYPES = {extension: mime_type for mime_type, extension in _EXTENSIONS.items()} | {
    ".jpeg": "image/jpeg",
    ".jpe": "image/jpeg",
    ".jfif": "image/jpeg",
}

_BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}

_TEXTS = (
    (b"<!doctype html", "a web page (HTML)"),
    (b"<html", "a web page (HTML)"),
    (b"<head", "a web page (HTML)"),
    (b"<body", "a web page (HTML)"),
    (b"<?xml", "XML"),
    (b"<error", "XML"),
    (b"{", "JSON"),
    (b"[", "JSON"),
    (b"\x1f\x8b", "compressed data (gzip)"),
    (b"%pdf-", "a PDF document"),
)


def sniff(data: bytes) -> str | None:
    """The MIME type of a picture, or None if it is no picture that is known here."""
    for magic, mime_type in _MAGIC.items():
        if data.startswith(magic):
            return mime_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp" and _brands(data) & {b"avif", b"avis"}:
        return "image/avif"
    # Two letters are no proof: a text may well begin with BM.
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "image/bmp"
    return None


def describe(data: bytes) -> str:
    """In words, what something that is no picture seems to be."""
    head = data[:HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return "nothing"
    if b"<svg" in head and head.startswith(b"<"):
        return "an SVG drawing"
    for start, words in _TEXTS:
        if head.startswith(start):
            return words
    return "text" if all(byte >= 0x20 or byte in b"\t\r\n" for byte in head) and head.isascii() else "unknown data"


def extension_for(mime_type: str) -> str:
    """The file extension with its dot; ``.bin`` for a type that is not known here."""
    return _EXTENSIONS.get(mime_type, ".bin")


def guess_from_url(url: str) -> str:
    """The MIME type that a URL's extension promises; ``image/png`` if it promises none."""
    try:
        path = urlsplit(url).path
    except ValueError:
        path = ""
    return _TYPES.get(PurePosixPath(path).suffix.lower(), "image/png")


def _brands(data: bytes) -> set[bytes]:
    """The brands of an ISO media file: the major one, and (after its version) the compatible ones."""
    end = min(int.from_bytes(data[:4], "big"), len(data), HEAD_BYTES)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}


Size = tuple[int, int]

_MAX_PARTS = 4096
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
    for _ in range(_MAX_PARTS):
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
    extents = [unpack_from(">II", found[1]) for found in islice(_AVIF_EXTENT.finditer(data), _MAX_PARTS)]
    if not 0 < len(extents) < _MAX_PARTS:
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
