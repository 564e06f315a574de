"""Why a configuration file cannot be changed."""

from __future__ import annotations


class Refused(Exception):
    """The change cannot be made, and the file is unchanged. The text gives the reason, for a person."""


class Unreadable(Refused):
    """The file is not what its host expects.

    Args:
        reason: What is wrong at this place.
        line: Counted from 1.
        column: Counted from 1.
    """

    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {reason}")
        self.line, self.column = line, column
