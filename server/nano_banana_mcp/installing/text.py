"""What the three formats share: faults with their place, line ends, and splices into a text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Path = tuple[str, ...]


class Refused(Exception):
    """It will not be done, and nothing was changed. The text says why, for a person."""


class Unreadable(Refused):
    """The file is not what its host expects, at this place (both count from 1)."""

    def __init__(self, what: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {what}")
        self.line, self.column = line, column


def unreadable(text: str, at: int, what: str) -> Unreadable:
    """The fault at this index of the text."""
    return Unreadable(what, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))


def not_kept() -> Refused:
    """The answer where a splice would have changed more than it should."""
    return Refused("its text is laid out in a way that the entry cannot be changed in without touching the rest")


def eol_of(text: str) -> str:
    """The line end that most lines have."""
    windows = text.count("\r\n")
    return "\r\n" if windows and windows * 2 >= text.count("\n") else "\n"


def indent_at(text: str, at: int) -> str | None:
    """What stands before this index on its line, if that is nothing but blanks."""
    start = text[text.rfind("\n", 0, at) + 1 : at]
    return start if not start.strip(" \t") else None


def spliced(text: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """The text with each range replaced. Ranges do not overlap; those at one place stay in their order."""
    kept, at = [], 0
    for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
        kept += [text[at:start], new]
        at = end
    return "".join([*kept, text[at:]])


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, types included (1 is not true, and a nan is a nan)."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or repr(one) == repr(other))
