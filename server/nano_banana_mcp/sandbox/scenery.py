"""The landscape: sky, a light, and layers of land that darken towards us."""

import math
import random
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFilter

from nano_banana_mcp.sandbox import figures
from nano_banana_mcp.sandbox.palette import Colour, Theme, blend

Ridge = Callable[[float], float]
_HORIZON = 0.6  # where sky and land meet, as a share of the height


def paint(canvas: Image.Image, theme: Theme, dice: random.Random) -> None:
    """Fill the canvas."""
    _sky(canvas, theme)
    if theme.night:
        _stars(canvas, dice)
    spot = _light(canvas, theme, dice)
    if not theme.night:
        _clouds(canvas, theme, dice)
        figures.birds(canvas, blend(theme.ground, theme.sky[1], 0.25), dice)
    if theme.place == "sea":
        _ground(canvas, theme, dice, layers=2, bottom=0.05)
        _sea(canvas, theme, dice, spot)
        if theme.lighthouse:
            figures.lighthouse(canvas, blend(theme.ground, (0, 0, 0), 0.35), spot[0] < canvas.width / 2)
        if theme.cat:
            shore = _ridge(canvas, theme.place, dice, 0.83, 1.0)
            _land(canvas, shore, theme.ground, mist=theme.ground)
            figures.cat(canvas, shore, blend(theme.ground, (0, 0, 0), 0.45), dice)
    else:
        _ground(canvas, theme, dice, layers=5, bottom=0.27)


def _sky(canvas: Image.Image, theme: Theme) -> None:
    top, middle, horizon = theme.sky
    strip = Image.new("RGB", (1, 64))
    for y in range(64):
        share = min(y / 63 / _HORIZON, 1.0)
        colour = blend(top, middle, share * 2) if share < 0.5 else blend(middle, horizon, share * 2 - 1)
        strip.putpixel((0, y), colour)
    canvas.paste(strip.resize(canvas.size, Image.Resampling.BICUBIC))


def _stars(canvas: Image.Image, dice: random.Random) -> None:
    pen = ImageDraw.Draw(canvas, "RGBA")
    unit = min(canvas.size)
    for _ in range(170):
        x, y = dice.uniform(0, canvas.width), dice.uniform(0, canvas.height * 0.55)
        radius = unit * dice.choice((0.0008, 0.0011, 0.0011, 0.002))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 250, 235, dice.randint(90, 255)))


def _light(canvas: Image.Image, theme: Theme, dice: random.Random) -> tuple[float, float]:
    """The sun with its glow; at night the moon, which in this house is a banana."""
    unit = min(canvas.size)
    x = canvas.width * dice.uniform(0.25, 0.75)
    y = canvas.height * (dice.uniform(0.22, 0.32) if theme.night else dice.uniform(0.24, 0.44))
    reach = round(unit * (0.7 if theme.night else 0.95))
    glow = Image.radial_gradient("L").point(lambda v: round(max(0.0, 1 - v / 181) ** 2.2 * 215))
    glow = glow.resize((reach * 2, reach * 2), Image.Resampling.BICUBIC)
    canvas.paste(Image.new("RGB", glow.size, theme.light), (round(x) - reach, round(y) - reach), glow)
    if theme.night:
        figures.banana_moon(canvas, (x, y - unit * 0.1), unit * 0.14, dice)
    else:
        radius = unit * dice.uniform(0.075, 0.11)
        ImageDraw.Draw(canvas).ellipse((x - radius, y - radius, x + radius, y + radius), fill=theme.light)
    return x, y


def _clouds(canvas: Image.Image, theme: Theme, dice: random.Random) -> None:
    unit = min(canvas.size)
    veil = Image.new("L", canvas.size, 0)
    pen = ImageDraw.Draw(veil)
    for _ in range(dice.randint(2, 4)):
        x, y = dice.uniform(0, canvas.width), canvas.height * dice.uniform(0.07, 0.36)
        for _ in range(dice.randint(3, 5)):
            length, height = unit * dice.uniform(0.12, 0.34), unit * dice.uniform(0.018, 0.03)
            left, upper = x + unit * dice.uniform(-0.16, 0.1), y + height * dice.randint(-1, 1)
            pen.rounded_rectangle((left, upper, left + length, upper + height), height / 2, fill=dice.randint(50, 120))
    canvas.paste(Image.new("RGB", canvas.size, blend(theme.sky[2], (255, 255, 255), 0.6)), mask=veil)


def _ground(canvas: Image.Image, theme: Theme, dice: random.Random, *, layers: int, bottom: float) -> None:
    haze = blend(theme.sky[2], theme.ground, 0.16)
    for layer in range(layers):
        near = layer / (layers - 1)
        level = _HORIZON - 0.09 + (bottom + 0.02) * near
        ridge = _ridge(canvas, theme.place, dice, level, near)
        colour = blend(haze, theme.ground, 0.12 + 0.88 * near**1.15)
        _land(canvas, ridge, colour, mist=blend(colour, haze, 0.55))
        if theme.place == "mountains" and layer < 2:
            figures.snow(canvas, ridge, blend(colour, (255, 255, 255), 0.6), dice)
        if theme.place == "forest" and 1 <= layer < layers - theme.cat:
            figures.pines(canvas, ridge, colour, 0.045 + 0.13 * near**1.6, dice)
        if theme.place == "city" and layer >= 1:
            figures.towers(canvas, ridge, colour, near, night=theme.night, dice=dice)
        if theme.place != "city" and layer == layers - 2 > 1:
            figures.house(canvas, ridge, colour, dice)
    if layers > 2 and theme.cat:
        figures.cat(canvas, ridge, blend(theme.ground, (0, 0, 0), 0.45), dice)


def _ridge(canvas: Image.Image, place: str, dice: random.Random, level: float, near: float) -> Ridge:
    waves = [(dice.uniform(0.7, 1.6) * 2.1**octave, dice.uniform(0, math.tau), 0.48**octave) for octave in range(5)]
    sharp = place == "mountains" and near < 0.6
    smooth = {"dunes": 2, "city": 1, "sea": 3}.get(place, 4)
    height = canvas.height * {"mountains": 0.15 - 0.07 * near, "city": 0.02, "sea": 0.06}.get(place, 0.075)
    span = max(canvas.size)

    def ridge(x: float) -> float:
        total = 0.0
        for frequency, phase, weight in waves[:smooth]:
            swing = math.sin(x / span * frequency * math.tau + phase)
            # Straight flanks for mountains, round ones for hills.
            total += weight * (1 - 4 / math.pi * abs(math.asin(swing)) if sharp else swing)
        return canvas.height * level - total * height * 0.75

    return ridge


def _land(canvas: Image.Image, ridge: Ridge, colour: Colour, mist: Colour) -> None:
    step = max(2, canvas.width // 400)
    line = [(x, ridge(x)) for x in range(0, canvas.width + step, step)]
    shape = Image.new("L", canvas.size, 0)
    ImageDraw.Draw(shape).polygon([(0, canvas.height), *line, (canvas.width, canvas.height)], fill=255)
    top = round(min(y for _, y in line))
    depth = max(1, round(canvas.height * 0.3))
    fill = Image.new("RGB", canvas.size, mist)
    fade = Image.linear_gradient("L").transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((canvas.width, depth))
    fill.paste(Image.new("RGB", (canvas.width, depth), colour), (0, top), fade)
    canvas.paste(fill, mask=shape)


def _sea(canvas: Image.Image, theme: Theme, dice: random.Random, spot: tuple[float, float]) -> None:
    line = round(canvas.height * (_HORIZON + 0.02))
    deep, shallow = blend(theme.sky[0], theme.ground, 0.55), blend(theme.sky[2], theme.sky[0], 0.35)
    strip = Image.new("RGB", (1, 2))
    strip.putpixel((0, 0), shallow)
    strip.putpixel((0, 1), deep)
    size = (canvas.width, canvas.height - line)
    canvas.paste(strip.resize(size, Image.Resampling.BILINEAR), (0, line))
    gleam = Image.new("L", canvas.size, 0)
    pen = ImageDraw.Draw(gleam)
    unit = min(canvas.size)
    for _ in range(150):
        depth = dice.random() ** 1.5
        y = line + depth * size[1]
        near_light = dice.random() < 0.6
        x = dice.gauss(spot[0], unit * (0.03 + 0.1 * depth)) if near_light else dice.uniform(0, canvas.width)
        length, height = unit * (0.012 + 0.05 * depth) * dice.uniform(0.5, 1.5), unit * (0.0015 + 0.004 * depth)
        shine = dice.randint(110, 215) if near_light else dice.randint(20, 60)
        pen.rounded_rectangle((x - length, y, x + length, y + height), height / 2, fill=shine)
    gleam = gleam.filter(ImageFilter.GaussianBlur(unit / 900))
    canvas.paste(Image.new("RGB", canvas.size, theme.light), mask=gleam)
    figures.banana_boat(canvas, line + size[1] * 0.3, blend(theme.ground, (0, 0, 0), 0.2), dice)
