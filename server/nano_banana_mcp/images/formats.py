"""What a picture's first bytes tell: its kind (labels lie), and how large it says it is. Nothing is decoded."""

from __future__ import annotations

import io
from pathlib import PurePosixPath
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

MAX_HEADER_BYTES = 500_000
"""Dimensions are looked for in these first bytes: a hostile header without end must not keep the processor busy."""


def dimensions(data: bytes) -> Size | None:
    """Width and height in pixels as stored, before any rotation; None if the header does not contain them."""
    import imagesize

    if sniff(data) is None:
        return None
    width, height = imagesize.get(io.BytesIO(data[:MAX_HEADER_BYTES]), exif_rotation=False)
    height = abs(height)  # negative in a BMP whose rows run downwards
    return (width, height) if width > 0 and height > 0 else None
