"""Makes a reference picture comfortable for the API: of a known type, not longer than need be, and not too heavy."""

from __future__ import annotations

import base64
import io

from nano_banana_mcp.images.errors import NotAPicture, PictureTooLarge
from nano_banana_mcp.images.picture import Picture
from nano_banana_mcp.images.pixels import dimensions

MAX_BYTES = 7_000_000
"""As base64 that is a third more: the API's other clients stop at 10 MB."""

MAX_PIXELS = 80_000_000
"""What has to be made smaller is decoded, at four bytes a pixel."""

TAKEN = frozenset({"image/png", "image/jpeg", "image/webp"})
"""What models are known to take. Of others, such as GIF, the first frame is sent as one of these."""

_QUALITIES = (90, 80, 65)


def comfortable(picture: Picture, *, max_side: int, max_bytes: int = MAX_BYTES) -> Picture:
    """``picture`` as it is, if it is comfortable, else a smaller one: upright, without what cameras write beside it.

    Args:
        max_side: The longest side, in pixels.

    Raises:
        NotAPicture: it has to be made smaller, and cannot be opened.
        PictureTooLarge: no way makes it light enough.
    """
    size = dimensions(picture.data)
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise PictureTooLarge(
            f"The reference picture has {size[0]} x {size[1]} pixels; {MAX_PIXELS // 1_000_000} million are the most."
        )
    fits = size is not None and max(size) <= max_side and len(picture.data) <= max_bytes
    return picture if fits and picture.mime_type in TAKEN else _smaller(picture, max_side, max_bytes)


def data_uri(picture: Picture) -> str:
    """The picture as text."""
    return f"data:{picture.mime_type};base64,{base64.b64encode(picture.data).decode('ascii')}"


def _smaller(picture: Picture, max_side: int, max_bytes: int) -> Picture:
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(picture.data)) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise PictureTooLarge("The reference picture has too many pixels.")
            opened.draft("RGB", (max_side, max_side))  # JPEG: decoded at half or a quarter, if that is enough
            upright = ImageOps.exif_transpose(opened)
            profile = opened.info.get("icc_profile") if opened.mode in ("RGB", "RGBA") else None
            transparent = upright.has_transparency_data
            drawn = upright.convert("RGBA" if transparent else "RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        raise NotAPicture(f"The reference picture ({picture.mime_type}) cannot be opened to make it smaller.") from None
    drawn.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    while True:
        for quality in _QUALITIES:
            file = io.BytesIO()
            if transparent:
                drawn.save(file, "WEBP", quality=quality, icc_profile=profile)
            else:
                drawn.save(file, "JPEG", quality=quality, icc_profile=profile)
            if file.tell() <= max_bytes:
                return Picture(file.getvalue(), "image/webp" if transparent else "image/jpeg")
        if max(drawn.size) < 256:
            raise PictureTooLarge("The reference picture cannot be made small enough.")
        drawn.thumbnail((max(drawn.size) * 3 // 4,) * 2, Image.Resampling.LANCZOS)
