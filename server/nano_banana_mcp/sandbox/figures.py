"""Small things that live in the landscape."""

import math
import random
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFilter

from nano_banana_mcp.sandbox.palette import Colour, blend

Ridge = Callable[[float], float]
Point = tuple[float, float]
_PEEL, _STALK, _SHADE = (255, 216, 77), (110, 84, 36), (232, 180, 44)
_LAMP = (255, 214, 120)


def _banana(centre: Point, size: float, lean: float, *, inner: float = 0.62) -> tuple[list[Point], Point, Point]:
    """A crescent that opens upwards: its outline, and its two tips."""
    x, y = centre
    half = math.radians(72)
    outline: list[Point] = []
    for step in range(41):  # the outer bow, from tip to tip below
        angle = math.pi / 2 - half + 2 * half * step / 40
        outline.append((math.cos(angle) * size, math.sin(angle) * size))
    for step in range(41):  # and back along the inner one, flatter, so that it is thickest in the middle
        angle = math.pi / 2 + half - 2 * half * step / 40
        outline.append((math.cos(angle) * size, math.sin(angle) * size * inner - size * (1 - inner) * -0.115))
    turned = [
        (x + px * math.cos(lean) - py * math.sin(lean), y + px * math.sin(lean) + py * math.cos(lean))
        for px, py in outline
    ]
    return turned, turned[0], turned[40]


def banana_moon(canvas: Image.Image, centre: Point, size: float, dice: random.Random) -> None:
    """A crescent with a stalk."""
    pen = ImageDraw.Draw(canvas)
    lean = dice.choice((-1, 1)) * dice.uniform(0.5, 0.8)
    outline, right, left = _banana(centre, size, lean)
    pen.polygon(outline, fill=_PEEL)
    shade, _, _ = _banana((centre[0], centre[1]), size, lean, inner=0.86)
    pen.polygon(shade, fill=_SHADE)
    stalk, tip = (left, right) if lean > 0 else (right, left)
    knob = size * 0.07
    away = math.hypot(stalk[0] - centre[0], stalk[1] - centre[1])
    end = (
        stalk[0] + (stalk[0] - centre[0]) / away * knob * 1.3,
        stalk[1] + (stalk[1] - centre[1]) / away * knob * 1.3 - knob * 1.6,
    )
    pen.line((*stalk, *end), fill=_STALK, width=round(knob * 1.15))
    pen.ellipse(_around(tip, knob * 0.6), fill=_STALK)


def banana_boat(canvas: Image.Image, water: float, shade: Colour, dice: random.Random) -> None:
    """A banana under sail."""
    pen = ImageDraw.Draw(canvas)
    size = min(canvas.size) * 0.085
    x = canvas.width * dice.choice((dice.uniform(0.16, 0.32), dice.uniform(0.68, 0.84)))
    outline, _, _ = _banana((x, water - size * 0.85), size, 0.0)
    mast = water - size * 2.3
    pen.line((x, water - size * 0.2, x, mast), fill=shade, width=max(2, round(size * 0.06)))
    pen.polygon(
        [(x + size * 0.08, mast), (x + size * 0.95, water - size * 0.62), (x + size * 0.08, water - size * 0.5)],
        fill=(252, 248, 236),
    )
    pen.polygon(
        [
            (x - size * 0.08, mast + size * 0.3),
            (x - size * 0.7, water - size * 0.66),
            (x - size * 0.08, water - size * 0.55),
        ],
        fill=(238, 106, 80),
    )
    pen.polygon(outline, fill=_PEEL)


def birds(canvas: Image.Image, colour: Colour, dice: random.Random) -> None:
    pen = ImageDraw.Draw(canvas)
    unit = min(canvas.size)
    left, top = canvas.width * dice.uniform(0.15, 0.7), canvas.height * dice.uniform(0.12, 0.26)
    for _ in range(dice.randint(3, 6)):
        x, y = left + unit * dice.uniform(-0.12, 0.12), top + unit * dice.uniform(-0.05, 0.05)
        wing = unit * dice.uniform(0.011, 0.02)
        width = max(2, round(unit * 0.0028))
        pen.arc((x - 2 * wing, y - wing / 2, x, y + wing), 200, 345, fill=colour, width=width)
        pen.arc((x, y - wing / 2, x + 2 * wing, y + wing), 195, 340, fill=colour, width=width)


def pines(canvas: Image.Image, ridge: Ridge, colour: Colour, height: float, dice: random.Random) -> None:
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


def towers(canvas: Image.Image, ridge: Ridge, colour: Colour, near: float, *, night: bool, dice: random.Random) -> None:
    pen = ImageDraw.Draw(canvas)
    unit = min(canvas.size)
    lamp = blend(colour, _LAMP, 0.9 if night else 0.55)
    x = -unit * 0.02
    while x < canvas.width:
        width = unit * dice.uniform(0.045, 0.1) * (0.7 + 0.5 * near)
        height = unit * dice.uniform(0.06, 0.34) * (1.1 - 0.45 * near)
        top, foot = ridge(x) - height, ridge(x) + unit * 0.06
        pen.rectangle((x, top, x + width, foot), fill=colour)
        if dice.random() < 0.25:
            pen.line((x + width / 2, top, x + width / 2, top - height * 0.22), fill=colour, width=max(2, unit // 400))
        pane = unit * 0.008
        for column in range(int(width / pane / 2.4)):
            for row in range(int(height / pane / 3)):
                if dice.random() < (0.4 if night else 0.2):
                    left, upper = x + pane * (0.8 + 2.4 * column), top + pane * (1 + 3 * row)
                    pen.rectangle((left, upper, left + pane, upper + pane * 1.5), fill=lamp)
        x += width + unit * dice.choice((0.0, 0.004, 0.02))


def snow(canvas: Image.Image, ridge: Ridge, colour: Colour, dice: random.Random) -> None:
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


def house(canvas: Image.Image, ridge: Ridge, colour: Colour, dice: random.Random) -> None:
    """Somebody lives here."""
    pen = ImageDraw.Draw(canvas)
    size = min(canvas.size) * 0.03
    x = canvas.width * dice.uniform(0.2, 0.8)
    foot = max(ridge(x - size), ridge(x + size)) + size * 0.2
    wall = blend(colour, (0, 0, 0), 0.35)
    pen.rectangle((x - size, foot - size * 1.3, x + size, foot), fill=wall)
    pen.rectangle((x + size * 0.45, foot - size * 2.5, x + size * 0.75, foot - size * 1.3), fill=wall)
    pen.polygon(
        [(x - size * 1.3, foot - size * 1.25), (x, foot - size * 2.4), (x + size * 1.3, foot - size * 1.25)], fill=wall
    )
    pen.rectangle((x - size * 0.3, foot - size * 0.95, x + size * 0.25, foot - size * 0.4), fill=_LAMP)


def lighthouse(canvas: Image.Image, rock: Colour, right: bool) -> None:
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
    pen.polygon(
        [(x - width * 0.6, top - unit * 0.055), (x, top - unit * 0.1), (x + width * 0.6, top - unit * 0.055)], fill=rock
    )
    pen.polygon(
        [
            (x - unit * 0.24, foot + unit * 0.1),
            (x - unit * 0.11, foot - unit * 0.012),
            (x - unit * 0.02, foot - unit * 0.03),
            (x + unit * 0.09, foot - unit * 0.005),
            (x + unit * 0.25, foot + unit * 0.1),
        ],
        fill=rock,
    )


def cat(canvas: Image.Image, ridge: Ridge, colour: Colour, dice: random.Random) -> None:
    """Sits on the nearest hill and looks into the distance."""
    pen = ImageDraw.Draw(canvas)
    size = min(canvas.size) * 0.075
    x = canvas.width * dice.uniform(0.3, 0.7)
    y = ridge(x) + size * 0.12
    pen.arc((x + size * 0.1, y - size * 1.15, x + size * 1.25, y), 20, 175, fill=colour, width=round(size * 0.15))
    pen.polygon(
        [
            (x - size * 0.6, y),
            (x - size * 0.28, y - size * 1.45),
            (x + size * 0.28, y - size * 1.45),
            (x + size * 0.6, y),
        ],
        fill=colour,
    )
    pen.ellipse((x - size * 0.66, y - size * 0.95, x + size * 0.66, y + size * 0.12), fill=colour)
    head = (x, y - size * 1.62)
    pen.ellipse((head[0] - size * 0.5, head[1] - size * 0.42, head[0] + size * 0.5, head[1] + size * 0.42), fill=colour)
    for side in (-1, 1):
        pen.polygon(
            [
                (x + side * size * 0.48, head[1] - size * 0.05),
                (x + side * size * 0.44, head[1] - size * 0.78),
                (x + side * size * 0.06, head[1] - size * 0.34),
            ],
            fill=colour,
        )


def _around(centre: Point, radius: float) -> tuple[float, float, float, float]:
    return centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius
