"""Pictures made small enough to be looked at. Pillow is imported only here, and only when it is called.

Decoding takes memory that allocators are slow to give back, and code of others on bytes of others: servers call it
by :func:`nano_banana_mcp.images.aside.shrink_aside`.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nano_banana_mcp.images.errors import NotAPicture, PictureTooLarge
from nano_banana_mcp.images.picture import Picture
from nano_banana_mcp.images.pixels import Size, dimensions

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 50_000_000
"""Three times a 4k picture. Half as many where decoding takes copies: with transparency, 16 bits, WebP and AVIF."""

LONGEST_SIDE = 16_383
"""WebP knows no longer one, in pixels."""

_SOURCE = "The picture"
_FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/avif": "AVIF",
    "image/bmp": "BMP",
}
# What every host shows as it is.
_SHOWN = {"image/png", "image/jpeg", "image/webp", "image/gif"}
_COPIED = {"image/webp", "image/avif"}
_DEEP = ("I", "F")  # 16 bits of grey
_SHOWN_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}

# JPEG is made in a tenth of the time, WebP is smaller.
_OPAQUE = (("JPEG", 85), ("WEBP", 80), ("WEBP", 60))
_TRANSPARENT = (("WEBP", 85), ("WEBP", 65))
_HOPELESS = 4
"""Above so many times the wanted bytes another quality does not help."""

_LARGEST_PROFILE_BYTES = 4_096
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
class Shrunk(Picture):
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


def shrink(picture: Picture, *, max_side: int, max_bytes: int) -> Shrunk:
    """``picture`` within ``max_side`` pixels and ``max_bytes``: the very same bytes where they fit and hosts show them,
    else JPEG, or WebP where that is too large or the picture has transparent parts.

    It is never enlarged. It is decoded whole in either case: a host that is handed a broken picture may fail with it.

    Raises:
        PictureTooLarge: it has too many pixels to decode, or cannot be had so small.
        NotAPicture: it is broken or cut off, or of a kind that cannot be decoded here.
    """
    from PIL import Image

    was = (picture.mime_type, len(picture.data))
    most = MOST_PIXELS // 2 if picture.mime_type in _COPIED else MOST_PIXELS
    _require_few_pixels(dimensions(picture.data) or (0, 0), most)
    try:
        with Image.open(io.BytesIO(picture.data), formats=[_FORMATS[picture.mime_type]]) as image:
            original = image.size
            if image.mode.startswith(_DEEP) or image.has_transparency_data:
                most = MOST_PIXELS // 2
            _require_few_pixels(original, most)
            moving = bool(getattr(image, "is_animated", False))
            if _fits(picture, image, max_side, max_bytes) and _turn(image) is None:
                image.load()
                return Shrunk(picture.data, picture.mime_type, original, original, *was, still=False)
            small = _small(image, min(max_side, LONGEST_SIDE))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureTooLarge(f"{_SOURCE} has too many pixels.") from None
    except _SPOILED:
        raise NotAPicture(
            f"{_SOURCE} is broken or cut off, or of a kind that cannot be decoded here.", hint="Use another picture."
        ) from None
    data, mime_type, size = _encoded(small, max_bytes)
    return Shrunk(data, mime_type, size, original, *was, still=moving)


def _require_few_pixels(size: Size, most: int) -> None:
    if size[0] * size[1] > most:
        raise PictureTooLarge(
            f"{_SOURCE} has {size[0]} x {size[1]} pixels; at most {most // 1_000_000} million such are decoded."
        )


def _fits(picture: Picture, image: Image.Image, max_side: int, max_bytes: int) -> bool:
    small = max(image.size) <= max_side and len(picture.data) <= max_bytes
    return small and picture.mime_type in _SHOWN and image.mode in _SHOWN_MODES


def _small(image: Image.Image, max_side: int) -> Image.Image:
    """Decoded, shrunk, upright, in 8 bits a channel, without anything but pixels and a short colour profile."""
    from PIL import Image

    turn = _turn(image)
    profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA") else None
    if image.mode.startswith(_DEEP):
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode in ("1", "P"):
        image = image.convert("RGB")
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS, reducing_gap=2.0)  # a JPEG is decoded smaller
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGB")
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")
    image = image.copy() if turn is None else image.transpose(turn)
    image.info = {"icc_profile": profile} if profile and len(profile) <= _LARGEST_PROFILE_BYTES else {}
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


def _encoded(image: Image.Image, max_bytes: int) -> tuple[bytes, str, Size]:
    """First the quality gives way, then the size."""
    from PIL import Image

    while True:
        least = None
        for form, quality in _TRANSPARENT if image.mode == "RGBA" else _OPAQUE:
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
            raise PictureTooLarge(f"{_SOURCE} cannot be made as small as {max_bytes} bytes.")
        image = image.resize((width, height), Image.Resampling.LANCZOS)
