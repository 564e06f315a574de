"""Light, place and colours for the words of a prompt."""

import colorsys
import random
import re
from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Mood:
    """The light: three colours of the sky from top to horizon, the sun or moon, and the nearest ground."""

    sky: tuple[str, str, str]
    light: str
    ground: str
    night: bool = False


MOODS = {
    "dawn": Mood(("#5b6fb5", "#f2a7a0", "#ffe3b8"), "#fff3d6", "#2f3a5f"),
    "day": Mood(("#3f8fd2", "#8fc7ec", "#e6f4f1"), "#fff6cf", "#1f5d57"),
    "dusk": Mood(("#2c2a5e", "#c8517b", "#ffb26b"), "#ffe0a3", "#1d1838"),
    "night": Mood(("#070d26", "#16265c", "#3f5a96"), "#f7ecc0", "#060a1c", night=True),
    "gold": Mood(("#d97b3f", "#f5b861", "#fdeec2"), "#fff9e0", "#5d2b1c"),
}
_MOOD_WORDS = {
    "night": "night moon moonlit star stars space galaxy midnight dark cosmos 밤 달 별 우주",
    "dawn": "dawn sunrise morning spring pastel pink 새벽 아침 봄 일출",
    "day": "day noon sunny summer blue sky bright cheerful 낮 여름 하늘 맑은",
    "dusk": "dusk sunset evening twilight purple neon 노을 저녁 석양 일몰",
    "gold": "gold golden autumn fall desert dune dunes warm sand 가을 사막 황금",
}
_PLACE_WORDS = {
    "sea": "sea ocean beach lake river boat sail ship island wave waves harbour harbor 바다 호수 강 해변 배",
    "forest": "forest tree trees wood woods pine jungle garden green 숲 나무 정원",
    "mountains": "mountain mountains peak snow snowy alps winter glacier 산 눈 설산",
}
_LIGHTHOUSE_WORDS = {"lighthouse", "lighthouses", "등대"}
_CAT_WORDS = {"cat", "cats", "kitten", "fox", "고양이", "여우"}


@dataclass(frozen=True, slots=True)
class Theme:
    """What is painted, with all colours."""

    place: str
    sky: tuple[Colour, Colour, Colour]
    light: Colour
    ground: Colour
    night: bool
    cat: bool
    lighthouse: bool = False


def read_theme(words: str, dice: random.Random) -> Theme:
    """The theme for these words; the dice decide what they leave open."""
    terms = _terms(words)
    mood = MOODS[_best(terms, _MOOD_WORDS) or dice.choice(("dawn", "day", "dusk", "night", "gold"))]
    lighthouse = bool(terms & _LIGHTHOUSE_WORDS)
    place = (
        ("sea" if lighthouse else None)
        or _best(terms, _PLACE_WORDS)
        or dice.choice(("hills", "hills", "mountains", "sea", "forest"))
    )
    turn = dice.uniform(-0.025, 0.025)

    def tinted(code: str) -> Colour:
        return _tint(code, turn)

    top, middle, horizon = mood.sky
    sky = (tinted(top), tinted(middle), tinted(horizon))
    return Theme(place, sky, rgb(mood.light), tinted(mood.ground), mood.night, bool(terms & _CAT_WORDS), lighthouse)


def rgb(code: str) -> Colour:
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def blend(one: Colour, other: Colour, share: float) -> Colour:
    """`one` at share 0, `other` at share 1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _terms(words: str) -> set[str]:
    terms = set(re.findall(r"\w+", words.lower()))
    # Korean particles follow the noun without a space: 바다에서, 고양이가.
    return terms | {word[:length] for word in terms if not word.isascii() for length in range(1, len(word))}


def _best(terms: set[str], vocabulary: dict[str, str]) -> str | None:
    hits = {name: len(terms.intersection(words.split())) for name, words in vocabulary.items()}
    name = max(hits, key=hits.__getitem__)
    return name if hits[name] else None


def _tint(code: str, turn: float) -> Colour:
    hue, saturation, value = colorsys.rgb_to_hsv(*(part / 255 for part in rgb(code)))
    red, green, blue = (round(part * 255) for part in colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value))
    return red, green, blue
