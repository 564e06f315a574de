"""Text from outside: cleaned before a model or a terminal sees it, and shortened."""

from __future__ import annotations

import re
import unicodedata

MAX_CLEAN_CHARACTERS = 500
"""Default limit of :func:`clean`."""

_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
# Letters by category, but invisible: Hangul and Braille fillers, and variation selectors, which can carry hidden text.
_INVISIBLE = re.compile("[\u115f\u1160\u2800\u3164\uffa0\ufe00-\ufe0e\U000e0100-\U000e01ef]")
_MARKDOWN_IMAGE = re.compile(r"!+(?=\[)")
_HTML_IMAGE = re.compile(r"<\s*/?\s*(?:img|image|picture|svg|object|embed|iframe|video)\b[^>]*>?", re.IGNORECASE)
_HTML_TAG = re.compile(r"<(?=[A-Za-z/!?])")


def clean(text: str, limit: int = MAX_CLEAN_CHARACTERS) -> str:
    """Return ``text`` as one safe line.

    Control, direction and invisible characters become spaces. Markdown images lose their exclamation mark, HTML images
    are removed, and other HTML tags lose their angle bracket, so that no client loads anything.

    Args:
        limit: Maximum number of characters of the result.
    """
    plain = "".join(" " if unicodedata.category(char) in _UNSAFE_CATEGORIES else char for char in text[: 4 * limit])
    line = " ".join(_INVISIBLE.sub(" ", plain).split())
    line = _HTML_IMAGE.sub("", _MARKDOWN_IMAGE.sub("", line))
    return shorten(_HTML_TAG.sub("‹", line), limit)


def shorten(text: str, limit: int) -> str:
    """Return ``text``, cut with an ellipsis where it has more than ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def sentence(text: str) -> str:
    """Return ``text`` with a full stop, unless it already ends with a punctuation mark."""
    return text if text.endswith((".", "!", "?", "…", "。", "！", "？")) else f"{text}."
