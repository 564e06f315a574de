"""Text from outside becomes one short, harmless line."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nano_banana_mcp.common.text import clean, sentence, shorten

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
LONE_SURROGATE = "\ud800"


@given(
    st.text(st.characters(exclude_categories=()))
    | st.text(f"![]()a \n{BIDI}", max_size=40)
    | st.text(st.characters(), min_size=450, max_size=3000)
)
@example("!![a](https://x.example/a.png)")
@example("!\u200b[a](https://x.example/a.png)")
@example("! ! [a](b)")
def test_clean_text_is_one_short_line_without_images(text: str) -> None:
    line = clean(text)
    assert len(line) <= 500
    assert not {unicodedata.category(character) for character in line} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert "![" not in line
    line.encode()


@pytest.mark.parametrize(
    "character",
    [*BIDI, *"\x00\x1b\x7f\x85\u200b\u2028\ufeff\u3164\u115f\u1160\u2800\ufe01\U000e0100\U000e01ef", LONE_SURROGATE],
)
def test_control_direction_and_invisible_characters_become_a_space(character: str) -> None:
    assert clean(f"a{character}b") == "a b"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a <a href="https://x.example">', 'a ‹a href="https://x.example">'),
        ("</p><!-- x --><?x", "‹/p>‹!-- x -->‹?x"),
        ("1 < 2, <3 and a<-b", "1 < 2, <3 and a<-b"),
    ],
)
def test_html_tags_lose_their_angle_bracket(text: str, line: str) -> None:
    assert clean(text) == line


@pytest.mark.parametrize(
    "image",
    [
        '<img src="https://x.example/a.png">',
        "<IMG\nsrc=x>",
        "< svg onload=x>",
        "<picture>",
        '<img src="https://x.example/',
    ],
)
def test_html_images_are_removed(image: str) -> None:
    assert clean(f"a{image}") == "a"


def test_ordinary_text_of_any_language_stays_unchanged() -> None:
    text = "Ein Hügel, 언덕, 丘, τύμβος — “so!” [1] (x) 🌄 ❤️"
    assert clean(text) == text


def test_long_text_is_cut_with_an_ellipsis() -> None:
    assert clean("a" * 501) == "a" * 499 + "…"
    assert clean("a" * 500) == "a" * 500
    assert clean("a" * 30, 10) == "a" * 9 + "…"
    assert shorten("lighthouse", 5) == "ligh…"


@pytest.mark.parametrize(("text", "ended"), [("It failed", "It failed."), ("Why?", "Why?"), ("안녕。", "안녕。")])
def test_a_sentence_ends_with_one_punctuation_mark(text: str, ended: str) -> None:
    assert sentence(text) == ended
