"""Removes what an image file says besides its pixels: place, time, device, texts, previews, trailers. Without decoding.

Colour profiles stay, and everything else that changes how the pixels look.
"""

from __future__ import annotations

import re
import struct
import zlib

from nano_banana_mcp.images.image import EncodedImage

MAX_PROFILE_BYTES = 1024 * 1024
"""Colour profile of a PNG file, unpacked: many decoders refuse the whole file beyond (Pillow among them)."""

MAX_DECODED_PROFILE_BYTES = 4 * 1024 * 1024
"""Colour profile that is applied here. Real ones have up to 3 MB."""

_MAX_PARTS = 200_000
_PNG_KEPT = {
    b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV", b"cLLI", b"sBIT", b"bKGD", b"pHYs", b"hIST",
    b"acTL", b"fcTL", b"fdAT",
}  # fmt: skip
_WEBP_KEPT = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP", b"ANIM", b"ANMF"}
_WEBP_EXIF_AND_XMP = 0x08 | 0x04
_JPEG_KEPT = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
"""Application segments that stay, and how they begin."""

_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""The next marker after a scan: not a stuffed byte, a restart or a fill byte."""


def without_metadata(image: EncodedImage, *, for_decoding: bool = False) -> EncodedImage:
    """Return the image without metadata, with the same pixels. An unknown format is returned unchanged.

    Args:
        for_decoding: Whether EXIF data, which say which side is up, and large colour profiles stay.

    Raises:
        ValueError: The file is cut off, or has an unknown structure.
    """
    remove = {"image/png": _png, "image/jpeg": _jpeg, "image/webp": _webp}.get(image.mime_type)
    if remove is None:
        return image
    try:
        return EncodedImage(remove(image.data, for_decoding), image.mime_type)
    except (struct.error, IndexError) as error:
        raise ValueError("the file is cut off") from error


def _png(data: bytes, for_decoding: bool) -> bytes:
    parts, at = [data[:8]], 8
    for _ in range(_MAX_PARTS):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        is_critical = kind[:1].isupper()
        if end > len(data) or (is_critical and not kind.isalpha()):
            raise ValueError("a chunk is cut off")
        is_kept = is_critical or kind in _PNG_KEPT or (for_decoding and kind == b"eXIf")
        if kind == b"iCCP":
            max_bytes = MAX_DECODED_PROFILE_BYTES if for_decoding else MAX_PROFILE_BYTES
            is_kept = _is_profile(data[at + 8 : end - 4], max_bytes)
        # A decoder refuses the whole file for a wrong checksum; without the chunk the pixels are still right.
        checksum = zlib.crc32(data[at + 4 : end - 4]).to_bytes(4, "big")
        if is_kept and (is_critical or checksum == data[end - 4 : end]):
            parts += [data[at : end - 4], checksum]
        if kind == b"IEND":
            return b"".join(parts)
        at = end
    raise ValueError("too many chunks")


def _is_profile(content: bytes, max_bytes: int) -> bool:
    """Return whether an iCCP chunk can be unpacked within the bounds."""
    try:
        unpacked = zlib.decompressobj().decompress(content.partition(b"\0")[2][1:], max_bytes + 1)
    except zlib.error:
        return False
    return len(unpacked) <= max_bytes


def _jpeg(data: bytes, for_decoding: bool) -> bytes:
    parts, at = [data[:2]], 2
    for _ in range(_MAX_PARTS):
        while data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1
        if data[at] != 0xFF:
            raise ValueError("a marker is missing")
        marker = data[at + 1]
        if marker == 0xD9:
            return b"".join([*parts, b"\xff\xd9"])
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + length
        if length < 2 or end > len(data):
            raise ValueError("a segment is cut off")
        content = data[at + 4 : end]
        is_application = 0xE0 <= marker <= 0xEF
        is_exif = marker == 0xE1 and content.startswith(b"Exif\0")
        if marker == 0xDA:
            following = _JPEG_MARKER.search(data, end)
            if following is None:
                raise ValueError("the end mark is missing")
            end = following.start()
        if not (is_application or marker == 0xFE) or (
            content.startswith(_JPEG_KEPT.get(marker, b"\0none")) or (for_decoding and is_exif)
        ):
            parts.append(data[at:end])
        at = end
    raise ValueError("too many segments")


def _webp(data: bytes, for_decoding: bool) -> bytes:
    parts: list[bytes] = []
    at = 12
    file_end = 8 + int.from_bytes(data[4:8], "little")
    if file_end > len(data) + 1:  # the padding of the last chunk may be missing
        raise ValueError("a chunk is cut off")
    while at + 8 <= min(file_end, len(data)):
        kind, length = struct.unpack_from("<4sI", data, at)
        content = data[at + 8 : at + 8 + length]
        if len(content) < length or len(parts) > _MAX_PARTS:
            raise ValueError("a chunk is cut off")
        if kind == b"VP8X":
            content = bytes([content[0] & ~(_WEBP_EXIF_AND_XMP ^ (0x08 if for_decoding else 0))]) + content[1:]
        if kind in _WEBP_KEPT or (for_decoding and kind == b"EXIF"):
            parts.append(struct.pack("<4sI", kind, length) + content + b"\0" * (length % 2))
        at += 8 + length + length % 2
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body
