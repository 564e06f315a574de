"""The landscape: sky, sun or moon, layers of land that darken towards the viewer, and a lighthouse or a cat."""

import math
import random
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFilter

from nano_banana_sandbox.palette import Colour, Theme, blend

Ridge = Callable[[float], float]
Point = tuple[float, float]
_PEEL, _STALK, _SHADE = (255, 216, 77), (110, 84, 36), (232, 180, 44)
_LAMP = (255, 214, 120)
_HORIZON = 0.6  # where sky and land meet, as a share of the height


def paint(canvas: Image.Image, theme: Theme, dice: random.Random) -> None:
    """Fill the canvas."""
    _sky(canvas, theme)
    if theme.night:
        _stars(canvas, dice)
    spot = _light(canvas, theme, dice)
    if not theme.night:
        _clouds(canvas, theme, dice)
    if theme.place == "sea":
        _ground(canvas, theme, dice, layers=2, bottom=0.05)
        _sea(canvas, theme, dice, spot)
        if theme.lighthouse:
            _lighthouse(canvas, blend(theme.ground, (0, 0, 0), 0.35), spot[0] < canvas.width / 2)
        if theme.cat:
            shore = _ridge(canvas, theme.place, dice, 0.83, 1.0)
            _land(canvas, shore, theme.ground, mist=theme.ground)
            _cat(canvas, shore, blend(theme.ground, (0, 0, 0), 0.45), dice)
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
    """The sun with its glow; at night the moon, in the shape of a banana."""
    unit = min(canvas.size)
    x = canvas.width * dice.uniform(0.25, 0.75)
    y = canvas.height * (dice.uniform(0.22, 0.32) if theme.night else dice.uniform(0.24, 0.44))
    reach = round(unit * (0.7 if theme.night else 0.95))
    glow = Image.radial_gradient("L").point(lambda v: round(max(0.0, 1 - v / 181) ** 2.2 * 215))
    glow = glow.resize((reach * 2, reach * 2), Image.Resampling.BICUBIC)
    canvas.paste(Image.new("RGB", glow.size, theme.light), (round(x) - reach, round(y) - reach), glow)
    if theme.night:
        _banana_moon(canvas, (x, y - unit * 0.1), unit * 0.14, dice)
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
            _snow(canvas, ridge, blend(colour, (255, 255, 255), 0.6), dice)
        if theme.place == "forest" and 1 <= layer < layers - theme.cat:
            _pines(canvas, ridge, colour, 0.045 + 0.13 * near**1.6, dice)
    if layers > 2 and theme.cat:
        _cat(canvas, ridge, blend(theme.ground, (0, 0, 0), 0.45), dice)


def _ridge(canvas: Image.Image, place: str, dice: random.Random, level: float, near: float) -> Ridge:
    waves = [(dice.uniform(0.7, 1.6) * 2.1**octave, dice.uniform(0, math.tau), 0.48**octave) for octave in range(4)]
    sharp = place == "mountains" and near < 0.6
    height = canvas.height * (0.15 - 0.07 * near if place == "mountains" else 0.075)
    span = max(canvas.size)

    def ridge(x: float) -> float:
        total = 0.0
        for frequency, phase, weight in waves:
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


def _banana(centre: Point, size: float, lean: float, inner: float) -> list[Point]:
    """The outline of a crescent, tip to tip along its outer bow and back along the flatter inner one."""
    half = math.radians(72)
    bows = [math.pi / 2 - half + 2 * half * step / 40 for step in range(41)]
    outline = [(math.cos(angle) * size, math.sin(angle) * size) for angle in bows]
    sunk = size * (1 - inner) * 0.115
    outline += [(math.cos(angle) * size, math.sin(angle) * size * inner + sunk) for angle in reversed(bows)]
    x, y, cosine, sine = *centre, math.cos(lean), math.sin(lean)
    return [(x + px * cosine - py * sine, y + px * sine + py * cosine) for px, py in outline]


def _banana_moon(canvas: Image.Image, centre: Point, size: float, dice: random.Random) -> None:
    """A crescent with a stalk."""
    pen = ImageDraw.Draw(canvas)
    lean = dice.choice((-1, 1)) * dice.uniform(0.5, 0.8)
    outline = _banana(centre, size, lean, 0.62)
    pen.polygon(outline, fill=_PEEL)
    pen.polygon(_banana(centre, size, lean, 0.86), fill=_SHADE)
    (x, y), (tip_x, tip_y) = (outline[40], outline[0]) if lean > 0 else (outline[0], outline[40])
    knob = size * 0.07
    end = x + (x - centre[0]) / size * knob * 1.3, y + (y - centre[1]) / size * knob * 1.3 - knob * 1.6
    pen.line((x, y, *end), fill=_STALK, width=round(knob * 1.15))
    pen.ellipse((tip_x - knob * 0.6, tip_y - knob * 0.6, tip_x + knob * 0.6, tip_y + knob * 0.6), fill=_STALK)


def _pines(canvas: Image.Image, ridge: Ridge, colour: Colour, height: float, dice: random.Random) -> None:
    pen = ImageDraw.Draw(canvas)
    tall = min(canvas.size) * height
    x = -tall / 2
    while x < canvas.width + tall / 2:
        size = tall * dice.uniform(0.6, 1.15)
        foot = ridge(x) + size * 0.12
        for tier in range(4):
            peak, spread = foot - size * (0.28 * tier + 0.32), size * (0.26 - 0.048 * tier)
            pen.polygon(
                [(x, peak - size * 0.1), (x - spread, peak + size * 0.3), (x + spread, peak + size * 0.3)], fill=colour
            )
        x += size * dice.uniform(0.25, 0.75)


def _snow(canvas: Image.Image, ridge: Ridge, colour: Colour, dice: random.Random) -> None:
    """White on whatever stands out: a cap that follows the ridge and ends in teeth."""
    step = max(2, canvas.width // 500)
    line = [(x, ridge(x)) for x in range(0, canvas.width + step, step)]
    top = min(y for _, y in line)
    reach = (max(y for _, y in line) - top) * 0.42
    lower, tooth = [], 0.0
    for index, (x, y) in enumerate(line):
        if index % 6 == 0:
            tooth = dice.uniform(0.35, 1.0)
        depth = max(0.0, top + reach - y)
        lower.append((x, y + depth * 0.7 * tooth))
    ImageDraw.Draw(canvas).polygon([*line, *reversed(lower)], fill=colour)


def _lighthouse(canvas: Image.Image, rock: Colour, right: bool) -> None:
    """On its rock, on the side where the sun is not, with its beam over the water."""
    unit = min(canvas.size)
    x, foot, tall = canvas.width * (0.76 if right else 0.24), canvas.height * 0.74, unit * 0.42
    top, width = foot - tall, unit * 0.052
    beam = Image.new("L", canvas.size, 0)
    away = -1 if right else 1
    far = x + away * unit * 0.9
    ImageDraw.Draw(beam).polygon([(x, top), (far, top - unit * 0.12), (far, top + unit * 0.1)], fill=90)
    canvas.paste(Image.new("RGB", canvas.size, _LAMP), mask=beam.filter(ImageFilter.GaussianBlur(unit * 0.012)))
    pen = ImageDraw.Draw(canvas)
    for stripe in range(5):  # tapering, red and white in turn
        upper, lower = stripe / 5, (stripe + 1) / 5
        wide, narrow = width * (0.62 + 0.38 * lower), width * (0.62 + 0.38 * upper)
        high, low = top + tall * upper, top + tall * lower
        pen.polygon(
            [(x - narrow, high), (x + narrow, high), (x + wide, low), (x - wide, low)],
            fill=(214, 72, 64) if stripe % 2 == 0 else (250, 244, 232),
        )
    pen.rectangle((x - width * 0.85, top - unit * 0.012, x + width * 0.85, top), fill=rock)
    pen.rectangle((x - width * 0.42, top - unit * 0.055, x + width * 0.42, top - unit * 0.012), fill=_LAMP)
    high = top - unit * 0.055
    pen.polygon([(x - width * 0.6, high), (x, top - unit * 0.1), (x + width * 0.6, high)], fill=rock)
    shore = ((-0.24, 0.1), (-0.11, -0.012), (-0.02, -0.03), (0.09, -0.005), (0.25, 0.1))
    pen.polygon([(x + unit * right, foot + unit * down) for right, down in shore], fill=rock)


def _cat(canvas: Image.Image, ridge: Ridge, colour: Colour, dice: random.Random) -> None:
    """Sits on the nearest hill and looks into the distance."""
    pen = ImageDraw.Draw(canvas)
    size = min(canvas.size) * 0.075
    x = canvas.width * dice.uniform(0.3, 0.7)
    y = ridge(x) + size * 0.12
    pen.arc((x + size * 0.1, y - size * 1.15, x + size * 1.25, y), 20, 175, fill=colour, width=round(size * 0.15))
    chest = y - size * 1.45
    pen.polygon([(x - size * 0.6, y), (x - size * 0.28, chest), (x + size * 0.28, chest), (x + size * 0.6, y)], colour)
    pen.ellipse((x - size * 0.66, y - size * 0.95, x + size * 0.66, y + size * 0.12), fill=colour)
    head = y - size * 1.62
    pen.ellipse((x - size * 0.5, head - size * 0.42, x + size * 0.5, head + size * 0.42), fill=colour)
    for side in (-size, size):
        ear = ((0.48, 0.05), (0.44, 0.78), (0.06, 0.34))
        pen.polygon([(x + side * right, head - size * up) for right, up in ear], fill=colour)
