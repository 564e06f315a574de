"""Draws the picture: the same words give the same picture. Imported only when somebody looks at one."""

import hashlib
import io
import random

from PIL import Image

from nano_banana_mcp.sandbox import scenery
from nano_banana_mcp.sandbox.caption import inscribe
from nano_banana_mcp.sandbox.palette import read_theme

LONGEST_SIDE = {"1k": 1024, "2k": 2048, "4k": 4096}
# Drawn larger than most are delivered: shrinking is the anti-aliasing.
_CANVAS = 2048


def size_of(aspect_ratio: str, image_size: str) -> tuple[int, int]:
    """Width and height in pixels."""
    return _within(aspect_ratio, LONGEST_SIDE[image_size])


def draw(words: str, *, aspect_ratio: str, image_size: str, references: int = 0, number: int = 0) -> Image.Image:
    """A landscape for these words; `number` tells the pictures of one task apart."""
    seed = hashlib.sha256(f"{number}:{words}".encode("utf-8", "surrogatepass")).digest()
    dice = random.Random(seed)  # noqa: S311 - art, not secrets
    canvas = Image.new("RGB", _within(aspect_ratio, _CANVAS))
    scenery.paint(canvas, read_theme(words, dice), dice)
    marks = [f"+{references} reference{'s' * (references > 1)}"] if references else []
    if number:
        marks.append(f"picture {number + 1}")
    canvas = inscribe(canvas, words, marks)
    return canvas.resize(size_of(aspect_ratio, image_size), Image.Resampling.LANCZOS)


def encode(picture: Image.Image, form: str) -> bytes:
    """The picture as png, jpeg, webp or gif."""
    target = io.BytesIO()
    if form == "png":
        picture.save(target, "PNG", compress_level=3)
    elif form == "gif":
        picture.quantize(256, Image.Quantize.FASTOCTREE).save(target, "GIF")
    else:
        picture.save(target, form.upper(), quality=88)
    return target.getvalue()


def noise(words: str, *, megabytes: float) -> bytes:
    """A PNG that does not compress."""
    dice = random.Random(words)  # noqa: S311 - art, not secrets
    side = int((megabytes * 1_000_000 / 3) ** 0.5)
    picture = Image.frombytes("RGB", (side, side), dice.randbytes(side * side * 3))
    target = io.BytesIO()
    picture.save(target, "PNG", compress_level=1)
    return target.getvalue()


def _within(aspect_ratio: str, longest: int) -> tuple[int, int]:
    wide, high = map(int, aspect_ratio.split(":"))
    scale = longest / max(wide, high)
    return round(wide * scale), round(high * scale)
