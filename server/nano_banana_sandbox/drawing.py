"""Draws the images: the same words give the same image. Imported only when an image is requested."""

import hashlib
import io
import random
import unicodedata
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from nano_banana_sandbox import scenery
from nano_banana_sandbox.palette import read_theme

MAX_SIDE = {"512": 512, "0.5k": 512, "1k": 1024, "2k": 2048, "4k": 4096}
# Longest side of the canvas in pixels. Most images are shrunk from it, which smooths their edges.
_CANVAS = 2048


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

RIBBON = "SANDBOX · not a real generation"
_MAX_LINES = 3
_PAPER = (12, 14, 24)
_BANANA = (255, 214, 64)
# Pillow's own font has Latin letters only. The first font here that draws most of a caption is used.
_SYSTEM_FONTS = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/nanum/NanumGothic.ttf",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/System/Library/Fonts/AppleSDGothicNeo.ttc",
    "/System/Library/Fonts/PingFang.ttc",
    "C:/Windows/Fonts/malgun.ttf",
    "C:/Windows/Fonts/msyh.ttc",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "C:/Windows/Fonts/segoeui.ttf",
)


def size_of(aspect_ratio: str, image_size: str) -> tuple[int, int]:
    """Width and height in pixels."""
    return _within(aspect_ratio, MAX_SIDE[image_size])


def draw(words: str, *, aspect_ratio: str, image_size: str, references: int = 0, number: int = 0) -> Image.Image:
    """A landscape for these words; `number` distinguishes the images of one task."""
    seed = hashlib.sha256(f"{number}:{words}".encode("utf-8", "surrogatepass")).digest()
    dice = random.Random(seed)  # noqa: S311 - art, not secrets
    canvas = Image.new("RGB", _within(aspect_ratio, _CANVAS))
    scenery.paint(canvas, read_theme(words, dice), dice)
    marks = [f"+{references} reference{'s' * (references > 1)}"] if references else []
    if number:
        marks.append(f"picture {number + 1}")
    canvas = inscribe(canvas, words, marks)
    return canvas.resize(size_of(aspect_ratio, image_size), Image.Resampling.LANCZOS)


def plain(words: str, *, aspect_ratio: str, image_size: str, number: int = 0) -> Image.Image:
    """An image of one colour, which depends on the words and the number."""
    colour = hashlib.sha256(f"{number}:{words}".encode("utf-8", "surrogatepass")).digest()
    return Image.new("RGB", size_of(aspect_ratio, image_size), (colour[0], colour[1], colour[2]))


def encode(image: Image.Image, form: str) -> bytes:
    """The image as png, jpeg, webp or gif."""
    target = io.BytesIO()
    if form == "png":
        image.save(target, "PNG", compress_level=3)
    elif form == "gif":
        image.quantize(256, Image.Quantize.FASTOCTREE).save(target, "GIF")
    else:
        image.save(target, form.upper(), quality=88)
    return target.getvalue()


def noise(words: str, *, megabytes: float) -> bytes:
    """A PNG that does not compress."""
    dice = random.Random(words)  # noqa: S311 - art, not secrets
    side = int((megabytes * 1_000_000 / 3) ** 0.5)
    image = Image.frombytes("RGB", (side, side), dice.randbytes(side * side * 3))
    target = io.BytesIO()
    image.save(target, "PNG", compress_level=1)
    return target.getvalue()


def _within(aspect_ratio: str, max_side: int) -> tuple[int, int]:
    wide, high = map(int, aspect_ratio.split(":"))
    scale = max_side / max(wide, high)
    return round(wide * scale), round(high * scale)


def inscribe(image: Image.Image, words: str, marks: list[str]) -> Image.Image:
    """The image with its ribbon, the caption and any further marks."""
    unit = min(image.size)
    margin = unit // 28
    small = ImageFont.load_default(size=unit / 40)
    large, text = font_for(words, unit // 27)
    lines = _wrap(text, large, image.width - 2 * margin)
    leading = unit / 20
    height = round(margin * 1.7 + unit / 40 + leading * len(lines) + (margin * 0.35 if lines else 0))
    top = image.height - height

    band = Image.new("RGBA", image.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(band)
    pen.rectangle((0, top, image.width, image.height), fill=(*_PAPER, 205))
    pen.rectangle((0, top, image.width, top + max(2, unit // 160)), fill=(*_BANANA, 255))
    y = top + margin * 0.9
    for line in lines:
        pen.text((margin, y), line, font=large, fill=(250, 248, 240, 255))
        y += leading
    foot = image.height - margin * 0.75
    pen.text((margin, foot), RIBBON, font=small, fill=(*_BANANA, 255), anchor="ls")
    pen.text((image.width - margin, foot), "  ".join(marks), font=small, fill=(215, 217, 225, 255), anchor="rs")
    return Image.alpha_composite(image.convert("RGBA"), band).convert("RGB")


def font_for(words: str, size: int) -> tuple[Font, str]:
    """The font that draws most of the words, and the words that it draws."""
    wanted = " ".join("".join(char for char in words if char.isprintable()).split())
    best: tuple[Font, str] = (ImageFont.load_default(size=size), "")
    for font in _fonts(size):
        drawn = drawable(wanted, font)
        if len(drawn) > len(best[1]):
            best = font, drawn
        if len(drawn) == len(wanted):
            break
    font, drawn = best
    return font, drawn if any(char.isalnum() for char in drawn) else ""


def drawable(words: str, font: Font) -> str:
    """The words without characters that the font would show as an empty box."""
    missing = bytes(font.getmask("\U0010fffd"))
    letters = "".join(
        char
        for char in words
        if char == " " or (not unicodedata.combining(char) and bytes(font.getmask(char)) not in (missing, b""))
    )
    return " ".join(letters.split())


@lru_cache(maxsize=4)
def _fonts(size: int) -> list[Font]:
    fonts: list[Font] = [ImageFont.load_default(size=size)]
    for path in _SYSTEM_FONTS:
        if Path(path).is_file():
            fonts.append(ImageFont.truetype(path, size))
    return fonts


def _wrap(text: str, font: Font, width: float) -> list[str]:
    lines: list[str] = []
    rest = text
    while rest and len(lines) < _MAX_LINES:
        line = _fitting(rest, font, width)
        rest = rest[len(line) :].lstrip()
        lines.append(line.rstrip())
    if rest:
        last = lines[-1]
        while last and font.getlength(f"{last}…") > width:
            last = last[:-1]
        lines[-1] = f"{last.rstrip()}…"
    return lines


def _fitting(text: str, font: Font, width: float) -> str:
    """The start of the text that fits into a line, broken at a space if it has one."""
    length = len(text)
    if font.getlength(text) > width:
        low, high = 1, length
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
        space = text.rfind(" ", 0, low + 1)
        length = space + 1 if space > low // 2 else low
    return text[:length]
