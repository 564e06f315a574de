"""Text from outside: cleaned before a model or a terminal sees it, and shortened."""

from __future__ import annotations

import codecs
import io
import re
import unicodedata

MAX_CLEAN_CHARACTERS = 500
"""Default limit of :func:`clean`."""

_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
# Invisible, though not by category: fillers, joiners, and variation selectors, which can carry hidden text. These are
# Unicode's Default_Ignorable_Code_Point but for U+FE0F, which emoji need, and the blank Braille pattern.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0e\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
_MARKDOWN_IMAGE = re.compile(r"!+(?=\[)")
_HTML_IMAGE = re.compile(r"<\s*/?\s*(?:img|image|picture|svg|object|embed|iframe|video)\b[^>]*>?", re.IGNORECASE)
_HTML_TAG = re.compile(r"<(?=[A-Za-z/!?])")

_STREAM_ERRORS = "nano_banana_mcp.stream"


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


def configure_stream(stream: object) -> None:
    """Let a standard stream print every text in every locale.

    Bytes of paths that the locale lacks are printed as they are on disk. Other characters that it lacks become question
    marks; where it has ASCII alone, they are printed as UTF-8, which is what terminals read.
    """
    if isinstance(stream, io.TextIOWrapper):
        codecs.register_error(_STREAM_ERRORS, _replace_unprintable)
        is_ascii = codecs.lookup(stream.encoding).name == "ascii"
        stream.reconfigure(encoding="utf-8" if is_ascii else None, errors=_STREAM_ERRORS)


def _replace_unprintable(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    codes = map(ord, error.object[error.start : error.end])
    return bytes(code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else ord("?") for code in codes), error.end
