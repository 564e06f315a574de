"""What the three formats share: positions of errors, line ends, edits of a text, and exact comparison."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nano_banana_mcp.install.errors import Refused, Unreadable

Keys = tuple[str, ...]
Edit = tuple[int, int, str]
"""Start and end of a range of the text, and what replaces it."""


def unreadable(text: str, at: int, reason: str) -> Unreadable:
    """The error at this index of the text."""
    return Unreadable(reason, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))


def layout_refused() -> Refused:
    """The error where an edit would have changed more than the entry."""
    return Refused("its layout does not allow changing the entry without changing other lines")


def eol_of(text: str) -> str:
    """The line end that most lines have."""
    windows = text.count("\r\n")
    return "\r\n" if windows and windows * 2 >= text.count("\n") else "\n"


def indent_at(text: str, at: int) -> str | None:
    """The blanks before this index on its line; None if other text stands there."""
    start = text[text.rfind("\n", 0, at) + 1 : at]
    return start if not start.strip(" \t") else None


def spliced(text: str, edits: Iterable[Edit]) -> str:
    """The text with each range replaced. Ranges do not overlap; edits at one place keep their order."""
    parts, at = [], 0
    for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
        parts += [text[at:start], new]
        at = end
    return "".join([*parts, text[at:]])


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, types included (1 is not true, and a nan is a nan)."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or repr(one) == repr(other))
