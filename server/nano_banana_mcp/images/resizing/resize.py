"""Pictures made small enough: to be looked at, or to be sent as references. Pillow is imported only when it is called.

Decoding takes memory that allocators are slow to give back, and code of others on bytes of others: servers call it
by :func:`nano_banana_mcp.images.resizing.worker.shrink_aside`.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nano_banana_mcp.images.errors import ImageTooLarge, NotAnImage
from nano_banana_mcp.images.formats import Size, dimensions
from nano_banana_mcp.images.image import EncodedImage

if TYPE_CHECKING:
    from PIL import Image


import json
import sys

from nano_banana_mcp.images.errors import ImageError

MAX_SIDE = 16_383
"""WebP knows no longer one, in pixels."""

_FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/avif": "AVIF",
    "image/bmp": "BMP",
}
_COPIED = {"image/webp", "image/avif"}
_DEEP = ("I", "F")  # 16 bits of grey
_SHOWN_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}

_HOPELESS = 4
"""Above so many times the wanted bytes another quality does not help."""

_MAX_PROFILE_BYTES = 4_096
_ORIENTATION = 0x0112

# What Pillow is known to raise on spoiled files, besides OSError.
_SPOILED = (
    RuntimeError,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a picture is made small for.

    Attributes:
        source: What it is called in messages.
        kept: The MIME types that are handed on as they are, where the picture fits.
        quality: The first one tried, of 100.
        max_pixels: The most that are decoded.
        max_copied_pixels: The same where decoding takes copies: with transparency, 16 bits, WebP and AVIF.
    """

    source: str
    kept: frozenset[str]
    quality: int
    max_pixels: int
    max_copied_pixels: int


PURPOSES = {
    # What every host shows as it is; three times the pixels of a 4k picture.
    "view": Purpose(
        "The picture", frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"}), 85, 50_000_000, 25_000_000
    ),
    # What models are known to take; of others, such as GIF, the first frame is sent as one of these.
    "reference": Purpose(
        "The reference picture", frozenset({"image/png", "image/jpeg", "image/webp"}), 90, 80_000_000, 80_000_000
    ),
}


@dataclass(frozen=True, slots=True)
class Shrunk(EncodedImage):
    """A picture that fits.

    Attributes:
        size: Width and height in pixels.
        original_size: The same before, as it was stored.
        original_mime_type, original_bytes: What it was.
        still: Whether it is the first frame of an animation.
    """

    size: Size
    original_size: Size
    original_mime_type: str
    original_bytes: int
    still: bool

    @property
    def untouched(self) -> bool:
        """Whether it is what it was."""
        was = (self.original_size, self.original_mime_type, self.original_bytes)
        return was == (self.size, self.mime_type, len(self.data))


def shrink(encoded: EncodedImage, *, max_side: int, max_bytes: int, purpose: str = "view") -> Shrunk:
    """``encoded`` within ``max_side`` pixels and ``max_bytes``: the very same bytes where they fit and their type is
    kept for this purpose (one of :data:`PURPOSES`), else JPEG, or WebP where that is too large or the picture has
    transparent parts.

    It is never enlarged. It is decoded whole in either case: a host that is handed a broken picture may fail with it.

    Raises:
        ImageTooLarge: it has too many pixels to decode, or cannot be had so small.
        NotAnImage: it is broken or cut off, or of a kind that cannot be decoded here.
    """
    from PIL import Image

    was = (encoded.mime_type, len(encoded.data))
    to = PURPOSES[purpose]
    most = to.max_copied_pixels if encoded.mime_type in _COPIED else to.max_pixels
    _require_few_pixels(dimensions(encoded.data) or (0, 0), most, to.source)
    try:
        with Image.open(io.BytesIO(encoded.data), formats=[_FORMATS[encoded.mime_type]]) as image:
            original = image.size
            if image.mode.startswith(_DEEP) or image.has_transparency_data:
                most = to.max_copied_pixels
            _require_few_pixels(original, most, to.source)
            moving = bool(getattr(image, "is_animated", False))
            fits = max(original) <= max_side and len(encoded.data) <= max_bytes
            if fits and encoded.mime_type in to.kept and image.mode in _SHOWN_MODES and _turn(image) is None:
                image.load()
                return Shrunk(encoded.data, encoded.mime_type, original, original, *was, still=False)
            small = _small(image, min(max_side, MAX_SIDE))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge(f"{to.source} has too many pixels.") from None
    except _SPOILED:
        raise NotAnImage(
            f"{to.source} is broken or cut off, or of a kind that cannot be decoded here.", hint="Use another picture."
        ) from None
    data, mime_type, size = _encoded(small, max_bytes, to)
    return Shrunk(data, mime_type, size, original, *was, still=moving)


def _require_few_pixels(size: Size, most: int, source: str) -> None:
    if size[0] * size[1] > most:
        raise ImageTooLarge(
            f"{source} has {size[0]} x {size[1]} pixels; at most {most // 1_000_000} million such are decoded."
        )


def _small(image: Image.Image, max_side: int) -> Image.Image:
    """Decoded, shrunk, upright, in 8 bits a channel, without anything but pixels and a short colour profile."""
    from PIL import Image

    turn = _turn(image)
    profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA") else None
    if image.mode.startswith(_DEEP):
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    elif image.has_transparency_data and image.mode != "RGBA":
        image = image.convert("RGBA")
    elif image.mode in ("1", "P"):
        image = image.convert("RGB")
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS, reducing_gap=2.0)  # a JPEG is decoded smaller
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGB")
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")
    image = image.copy() if turn is None else image.transpose(turn)
    image.info = {"icc_profile": profile} if profile and len(profile) <= _MAX_PROFILE_BYTES else {}
    return image


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What puts it upright, by its EXIF data."""
    from PIL import Image

    try:
        orientation = image.getexif().get(_ORIENTATION)
    except _SPOILED:  # it is none the worse for that
        return None
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return turns.get(orientation) if isinstance(orientation, int) else None


def _encoded(image: Image.Image, max_bytes: int, to: Purpose) -> tuple[bytes, str, Size]:
    """First the quality gives way, then the size."""
    from PIL import Image

    # JPEG is made in a tenth of the time, WebP is smaller.
    opaque = (("JPEG", to.quality), ("WEBP", 80), ("WEBP", 60))
    transparent = (("WEBP", to.quality), ("WEBP", 65))
    while True:
        least = None
        for form, quality in transparent if image.mode == "RGBA" else opaque:
            file = io.BytesIO()
            image.save(file, form, quality=quality, icc_profile=image.info.get("icc_profile"))
            if file.tell() <= max_bytes:
                return file.getvalue(), f"image/{form.lower()}", image.size
            least = min(file.tell(), least or file.tell())
            if least > _HOPELESS * max_bytes:
                break
        assert least is not None
        factor = min(0.8, max(0.25, 0.95 * (max_bytes / least) ** 0.5))
        width, height = (max(1, round(side * factor)) for side in image.size)
        if (width, height) in (image.size, (1, 1)):
            raise ImageTooLarge(f"{to.source} cannot be made as small as {max_bytes} bytes.")
        image = image.resize((width, height), Image.Resampling.LANCZOS)


def main() -> None:
    """The whole process. Its arguments: the MIME type, the longest side and the most bytes wanted, and what for."""
    mime_type, max_side, max_bytes, purpose = sys.argv[1:]
    answer = b""
    try:
        encoded = EncodedImage(sys.stdin.buffer.read(), mime_type)
        small = shrink(encoded, max_side=int(max_side), max_bytes=int(max_bytes), purpose=purpose)
        answer = small.data
        told = {
            "mime_type": small.mime_type,
            "size": small.size,
            "original_size": small.original_size,
            "still": small.still,
        }
    except ImageError as error:
        told = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    sys.stdout.buffer.write(json.dumps(told).encode() + b"\n" + answer)
