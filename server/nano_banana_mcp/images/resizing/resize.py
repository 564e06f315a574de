"""Shrinks images, to be viewed or to be sent as references. The program of the resize worker.

Decoding takes much memory and runs a decoder on untrusted bytes: servers call
:func:`nano_banana_mcp.images.resizing.worker.shrink_in_worker`, and Pillow is imported only in the worker.
"""

from __future__ import annotations

import importlib
import io
import json
import struct
import sys
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nano_banana_mcp.images.errors import ImageError, ImageTooLarge, NotAnImage
from nano_banana_mcp.images.formats import Size, advice_for, describe, dimensions
from nano_banana_mcp.images.image import EncodedImage, is_truncated
from nano_banana_mcp.images.metadata_removal import MAX_DECODED_PROFILE_BYTES, MAX_PROFILE_BYTES, without_metadata

if TYPE_CHECKING:
    from PIL import Image

MAX_SIDE = 16_383
"""Longest side of a WebP file, in pixels."""

_FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/avif": "AVIF",
    "image/bmp": "BMP",
    "image/heic": "HEIF",
}
_COPIED = {"image/webp", "image/avif"}
_DEEP = ("I", "F")  # 16 bits of grey
_SHOWN_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}

_MAX_QUALITY_GAIN = 4
"""Factor above the wanted bytes beyond which a lower quality does not help."""

_ORIENTATION = 0x0112
_JPEG_END = b"\xff\xd9"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_SAVE_IT = "Save it, and open it with another program."

# What Pillow raises on damaged files.
_DECODER_ERRORS = (
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
    """What an image is shrunk for.

    Attributes:
        source: Name of the image in messages.
        unchanged_types: MIME types that are returned unchanged if the image fits.
        quality: First quality that is tried, of 100.
        max_pixels: Pixels that are decoded at most.
        max_copied_pixels: The same where decoding copies: with transparency, 16 bits, WebP and AVIF.
    """

    source: str
    unchanged_types: frozenset[str]
    quality: int
    max_pixels: int
    max_copied_pixels: int


PURPOSES = {
    # Types that every host shows; three times the pixels of a 4K image.
    "view": Purpose(
        "The picture", frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"}), 85, 50_000_000, 25_000_000
    ),
    # Types that models accept; of others, such as GIF, the first frame is sent as one of these.
    "reference": Purpose(
        "The reference picture", frozenset({"image/png", "image/jpeg", "image/webp"}), 90, 80_000_000, 80_000_000
    ),
    # Always encoded again, so that nothing but the pixels remains.
    "upload": Purpose("The upload", frozenset(), 92, 80_000_000, 80_000_000),
}


@dataclass(frozen=True, slots=True)
class ShrunkImage(EncodedImage):
    """An image that fits.

    Attributes:
        size: Width and height in pixels.
        original_size: Width and height of the original, before rotation.
        original_mime_type: MIME type of the original.
        original_bytes: Bytes of the original.
        still: Whether it is the first frame of an animation.
    """

    size: Size
    original_size: Size
    original_mime_type: str
    original_bytes: int
    still: bool

    @property
    def untouched(self) -> bool:
        """Whether it is the original."""
        original = (self.original_size, self.original_mime_type, self.original_bytes)
        return original == (self.size, self.mime_type, len(self.data))


def shrink(encoded: EncodedImage, *, max_side: int, max_bytes: int, purpose: str = "view") -> ShrunkImage:
    """Return an image within ``max_side`` pixels and ``max_bytes``, never enlarged.

    An image that fits and whose type is one of the purpose's ``unchanged_types`` is returned unchanged, after it was
    decoded: a damaged image can break the host. Others become JPEG, or WebP where JPEG is too large or cannot hold
    transparency.

    Args:
        max_side: Longest side in pixels.
        purpose: One of :data:`PURPOSES`.

    Raises:
        ImageTooLarge: It has too many pixels to decode, or cannot be made so small.
        NotAnImage: It is damaged or truncated, or its format cannot be decoded here.
    """
    from PIL import Image, PngImagePlugin

    original_file = (encoded.mime_type, len(encoded.data))
    to = PURPOSES[purpose]
    if encoded.mime_type not in _FORMATS or (encoded.mime_type == "image/heic" and not _can_open_heic()):
        raise NotAnImage(f"{to.source} is {describe(encoded.data)}, which cannot be decoded here.", hint=_SAVE_IT)
    PngImagePlugin.MAX_TEXT_CHUNK = MAX_DECODED_PROFILE_BYTES  # Pillow refuses the whole file beyond its own 1 MB
    max_pixels = to.max_copied_pixels if encoded.mime_type in _COPIED else to.max_pixels
    _require_few_pixels(dimensions(encoded.data) or (0, 0), max_pixels, to.source)
    try:
        with Image.open(io.BytesIO(_decodable(encoded)), formats=[_FORMATS[encoded.mime_type]]) as image:
            original = image.size
            if image.mode.startswith(_DEEP) or image.has_transparency_data:
                max_pixels = to.max_copied_pixels
            _require_few_pixels(original, max_pixels, to.source)
            is_animated = bool(getattr(image, "is_animated", False))
            fits = max(original) <= max_side and len(encoded.data) <= max_bytes
            is_accepted = encoded.mime_type in to.unchanged_types and image.mode in _SHOWN_MODES
            is_convertible = purpose == "reference" and len(image.info.get("icc_profile") or b"") > MAX_PROFILE_BYTES
            if fits and is_accepted and not is_convertible and _upright(image) is None:
                image.load()
                same = encoded if purpose == "view" else _bare(encoded)
                return ShrunkImage(same.data, encoded.mime_type, original, original, *original_file, still=False)
            small = _shrink_decoded(image, min(max_side, MAX_SIDE))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge(f"{to.source} has too many pixels.") from None
    except _DECODER_ERRORS:
        advice = advice_for(encoded.data)  # a format that many programs do not know
        name = f"{to.source}, {describe(encoded.data)}," if advice else to.source
        raise NotAnImage(
            f"{name} is broken or cut off, or of a kind that cannot be decoded here.",
            hint=advice or "Use another picture.",
        ) from None
    data, mime_type, size = _encode(small, max_bytes, to)
    return ShrunkImage(data, mime_type, size, original, *original_file, still=is_animated)


def _can_open_heic() -> bool:
    try:
        heif = importlib.import_module("pillow_heif")  # the extra "heic"
    except ImportError:
        return False
    heif.register_heif_opener(thumbnails=False)
    return True


def _decodable(encoded: EncodedImage) -> bytes:
    """Return the file as Pillow can decode it: without texts and spoiled chunks, and with its end mark.

    Raises:
        OSError: Pixels are missing.
    """
    if encoded.mime_type == "image/png":
        try:
            return without_metadata(encoded, for_decoding=True).data
        except ValueError:
            return encoded.data
    if encoded.mime_type == "image/jpeg" and is_truncated(encoded.data, "image/jpeg"):
        return _with_end_mark(encoded.data)
    return encoded.data


def _with_end_mark(data: bytes) -> bytes:
    """Return a JPEG file without an end mark with one, if only that is missing.

    Bytes between the last pixel and the mark change nothing; where pixels are missing, they become pixels.
    """
    from PIL import Image

    ended = [data + filler + _JPEG_END for filler in (b"", b"\x55" * 64)]
    images = []
    for file in ended:
        with Image.open(io.BytesIO(file), formats=["JPEG"]) as image:
            _require_few_pixels(image.size, PURPOSES["view"].max_pixels, "The picture")
            images.append(image.convert("RGB"))
    if images[0].tobytes() != images[1].tobytes():
        raise OSError("pixels are missing")
    return ended[0]


def _bare(encoded: EncodedImage) -> EncodedImage:
    end = {"image/jpeg": _JPEG_END, "image/png": _PNG_END}.get(encoded.mime_type, b"")
    if end and is_truncated(encoded.data, encoded.mime_type):
        encoded = EncodedImage(encoded.data + end, encoded.mime_type)
    return without_metadata(encoded)


def _require_few_pixels(size: Size, max_pixels: int, source: str) -> None:
    if size[0] * size[1] > max_pixels:
        raise ImageTooLarge(
            f"{source} has {size[0]} x {size[1]} pixels; at most {max_pixels // 1_000_000} million such are decoded."
        )


def _shrink_decoded(image: Image.Image, max_side: int) -> Image.Image:
    """Decode, shrink and rotate upright, to 8 bits a channel in sRGB, without metadata."""
    from PIL import Image

    rotation = _upright(image)
    profile = image.info.get("icc_profile")
    if image.mode.startswith(_DEEP):
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    elif image.has_transparency_data and image.mode != "RGBA":
        image = image.convert("RGBA")
    elif image.mode in ("1", "P"):
        image = image.convert("RGB")
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS, reducing_gap=2.0)  # a JPEG is decoded smaller
    if profile:
        image = _in_srgb(image, profile)
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGB")
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")
    image = image.copy() if rotation is None else image.transpose(rotation)
    image.info = {}
    return image


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return the image with the colours that its profile means, in sRGB. A profile that does not fit is ignored."""
    from PIL import ImageCms

    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    try:
        converted = ImageCms.profileToProfile(
            image.convert("RGB") if alpha is not None else image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, *_DECODER_ERRORS):
        return image
    if converted is None:
        return image
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _upright(image: Image.Image) -> Image.Transpose | None:
    """Return the rotation that makes the image upright, by its EXIF data."""
    from PIL import Image

    try:
        orientation = image.getexif().get(_ORIENTATION)
    except _DECODER_ERRORS:  # damaged EXIF data: the pixels may be fine
        return None
    rotations = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return rotations.get(orientation) if isinstance(orientation, int) else None


def _encode(image: Image.Image, max_bytes: int, to: Purpose) -> tuple[bytes, str, Size]:
    """Encode within the bytes: at a lower quality first, then at a smaller size."""
    from PIL import Image

    # JPEG takes a tenth of the time, WebP is smaller.
    opaque = (("JPEG", to.quality), ("WEBP", 80), ("WEBP", 60))
    transparent = (("WEBP", to.quality), ("WEBP", 65))
    while True:
        smallest = None
        for form, quality in transparent if image.mode == "RGBA" else opaque:
            file = io.BytesIO()
            image.save(file, form, quality=quality)
            if file.tell() <= max_bytes:
                return file.getvalue(), f"image/{form.lower()}", image.size
            smallest = min(file.tell(), smallest or file.tell())
            if smallest > _MAX_QUALITY_GAIN * max_bytes:
                break
        assert smallest is not None
        factor = min(0.8, max(0.25, 0.95 * (max_bytes / smallest) ** 0.5))
        width, height = (max(1, round(side * factor)) for side in image.size)
        if (width, height) in (image.size, (1, 1)):
            raise ImageTooLarge(f"{to.source} cannot be made as small as {max_bytes} bytes.")
        image = image.resize((width, height), Image.Resampling.LANCZOS)


def main() -> None:
    """Run the worker: the image on stdin; MIME type, longest side, maximum bytes and purpose as arguments."""
    mime_type, max_side, max_bytes, purpose = sys.argv[1:]
    answer = b""
    try:
        encoded = EncodedImage(sys.stdin.buffer.read(), mime_type)
        small = shrink(encoded, max_side=int(max_side), max_bytes=int(max_bytes), purpose=purpose)
        answer = small.data
        header = {
            "mime_type": small.mime_type,
            "size": small.size,
            "original_size": small.original_size,
            "still": small.still,
        }
    except ImageError as error:
        header = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + answer)
