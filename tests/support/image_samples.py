"""Sample images."""

import base64
import io
import struct
import zlib

from PIL import Image


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int = 3, height: int = 2) -> bytes:
    """A PNG that claims to be of this size; its pixels are always few."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, body)
        for kind, body in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(b"\0" + b"\x7f" * 9)),
            (b"IEND", b""),
        )
    )


def drawn(kind: str, size: tuple[int, int] = (37, 21), mode: str = "RGB", **options: object) -> bytes:
    """A real picture, written by Pillow."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def large_png(size: int) -> bytes:
    """A PNG with that number of bytes behind its header."""
    return png().ljust(size, b"\0")


def data_uri(data: bytes, mime_type: str = "image/png") -> str:
    return f"data:{mime_type};base64,{base64.b64encode(data).decode()}"


PNG = png()
INSIDE, OUTSIDE = drawn("PNG"), drawn("PNG", (11, 11))
"""Of an allowed folder, and of what is beside it."""


PHOTO_SIDE = 4096


def photo_png() -> bytes:
    """A PNG of some 16 MB: grain over shades, as pictures have it."""
    shades = Image.linear_gradient("L").resize((PHOTO_SIDE, PHOTO_SIDE))
    strip = Image.effect_noise((PHOTO_SIDE, PHOTO_SIDE // 8), 3)  # repeats farther apart than deflate can see
    grain = Image.new("L", shades.size)
    for top in range(0, PHOTO_SIDE, strip.height):
        grain.paste(strip, (0, top))
    image = Image.merge("RGB", (Image.blend(shades, grain, 0.2), shades.rotate(90), grain))
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    assert 12_000_000 < file.tell() < 20_000_000
    return file.getvalue()
