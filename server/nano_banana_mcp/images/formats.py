"""The format of an image by its first bytes (labels lie), and the size that its header names. Nothing is decoded."""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from urllib.parse import urlsplit

HEAD_BYTES = 512
"""Bytes that :func:`sniff` and :func:`describe` need."""

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
    "image/heic": ".heic",
    "image/tiff": ".tiff",
    "image/jxl": ".jxl",
    "image/jp2": ".jp2",
}

DECODABLE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "image/avif", "image/bmp"})
"""Formats that can be decoded here, and sent as references. Generated images of the others are stored as they are."""

_TYPES = {extension: mime_type for mime_type, extension in _EXTENSIONS.items()} | {
    ".jpeg": "image/jpeg",
    ".jpe": "image/jpeg",
    ".jfif": "image/jpeg",
    ".heif": "image/heic",
    ".tif": "image/tiff",
}

EXTENSIONS = frozenset(_TYPES)
"""File extensions of images, with their dots, in small letters."""

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_PREFIXES = {
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
    b"II+\0": "image/tiff",  # BigTIFF
    b"MM\0+": "image/tiff",
    b"\xff\x0a": "image/jxl",
    b"\0\0\0\x0cJXL \r\n\x87\n": "image/jxl",
    b"\0\0\0\x0cjP  \r\n\x87\n": "image/jp2",
    b"\xff\x4f\xff\x51": "image/jp2",
}

_FOREIGN = {
    "image/heic": ("an iPhone photo (HEIC)", "Export it as JPEG"),
    "image/tiff": ("a TIFF image", "Export it as PNG or JPEG"),
    "image/jxl": ("a JPEG XL image", "Export it as PNG or JPEG"),
    "image/jp2": ("a JPEG 2000 image", "Export it as PNG or JPEG"),
}
"""Images that are not accepted as references: their names, and what to do."""

_BINARIES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"8BPS", "a Photoshop document (PSD)", "Export it as PNG or JPEG"),
    (0, b"gimp xcf", "a GIMP document (XCF)", "Export it as PNG or JPEG"),
    (0, b"%PDF-", "a PDF document", "Export the page as PNG or JPEG"),
    (0, b"%!PS", "a PostScript drawing (EPS)", "Export it as PNG"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript drawing (EPS)", "Export it as PNG"),
    (0, b"\0\0\1\0", "an icon (ICO)", "Export it as PNG"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image", "Export it as PNG or JPEG"),
    (0, b"#?RADIANCE", "an HDR image (Radiance)", "Export it as PNG or JPEG"),
    (0, b"qoif", "a QOI image", "Export it as PNG"),
    (0, b"DDS ", "a DDS texture", "Export it as PNG"),
    (0, b"FUJIFILMCCD-RAW", "a raw photo", "Export it as JPEG"),
    (4, b"ftypcrx ", "a raw photo", "Export it as JPEG"),
    (4, b"ftyp", "a video", "Use one frame of it, as PNG or JPEG"),
    (0, b"\x1a\x45\xdf\xa3", "a video", "Use one frame of it, as PNG or JPEG"),
    (0, b"PK\3\4", "a ZIP archive or an office document", "Take the image out of it"),
    (0, b"\x1f\x8b", "compressed data (gzip)", "Unpack it first"),
    *((0, b"P%d" % number, "a netpbm image", "Export it as PNG") for number in range(1, 8)),
)
"""Offset, bytes, name and advice of files that are sometimes taken for images."""

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
)


Size = tuple[int, int]

MAX_HEADER_BYTES = 500_000
"""Dimensions are looked for in these first bytes: a hostile header without end must not keep the processor busy."""


def sniff(data: bytes) -> str | None:
    """Return the MIME type of an image, or None if the format is not known here."""
    for magic, mime_type in (*_MAGIC.items(), *_PREFIXES.items()):
        if data.startswith(magic):
            return mime_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        brands = _brands(data)
        if brands & {b"avif", b"avis"}:
            return "image/avif"
        return "image/heic" if brands & _HEIF_BRANDS else None
    # Two letters are no proof: a text may well begin with BM.
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "image/bmp"
    return None


def describe(data: bytes) -> str:
    """Return in words what a file seems to be that cannot be used as an image."""
    return _identify(data)[0]


def advice_for(data: bytes) -> str | None:
    """Return what to do with a file that cannot be used as an image; None if nothing is known about it."""
    advice = _identify(data)[1]
    return f"{advice}." if advice else None


def _identify(data: bytes) -> tuple[str, str | None]:
    if foreign := _FOREIGN.get(sniff(data) or ""):
        return foreign
    for offset, magic, name, advice in _BINARIES:
        if data.startswith(magic, offset) and (magic[:1] != b"P" or len(magic) > 2 or data[2:3].isspace()):
            return name, advice
    head = data[:HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return "nothing", None
    if head.startswith(b"<") and (b"<svg" in head or b"svg" in head.partition(b">")[0]):
        return "an SVG drawing", "Export it as PNG"
    for start, words in _TEXTS:
        if head.startswith(start):
            return words, None
    is_text = head.isascii() and all(byte >= 0x20 or byte in b"\t\r\n" for byte in head)
    return ("text" if is_text else "unknown data"), None


def extension_for(mime_type: str) -> str:
    """Return the file extension with its dot; ``.bin`` for a type that is not known here."""
    return _EXTENSIONS.get(mime_type, ".bin")


def guess_from_url(url: str) -> str:
    """Return the MIME type of a URL's extension; ``image/png`` if it has none that is known."""
    try:
        path = urlsplit(url).path
    except ValueError:
        path = ""
    return _TYPES.get(PurePosixPath(path).suffix.lower(), "image/png")


def _brands(data: bytes) -> set[bytes]:
    """The brands of an ISO media file: the major one, and (after its version) the compatible ones."""
    end = min(int.from_bytes(data[:4], "big"), len(data), HEAD_BYTES)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}


def dimensions(data: bytes) -> Size | None:
    """Width and height in pixels as stored, before any rotation; None if the header does not contain them."""
    import imagesize

    if sniff(data) is None:
        return None
    width, height = imagesize.get(io.BytesIO(data[:MAX_HEADER_BYTES]), exif_rotation=False)
    height = abs(height)  # negative in a BMP whose rows run downwards
    return (width, height) if width > 0 and height > 0 else None
