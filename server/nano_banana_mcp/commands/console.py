"""What all commands share: exit codes, errors on stderr, and tables on stdout."""

from __future__ import annotations

import shutil
import sys
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

FAILED = 1
USAGE_ERROR = 2
DEFAULT_COLUMNS = 120
"""Width in characters where the output is not a terminal and COLUMNS is not set."""


def refuse(command: str, reason: object, code: int = FAILED) -> int:
    """Print why a command did not do what was asked, and return its exit code."""
    sys.stderr.write(f"nano-banana-mcp {command}: {reason}\n")
    return code


def columns() -> int:
    """Width of the output in characters."""
    return shutil.get_terminal_size((DEFAULT_COLUMNS, 24)).columns


def table(*names: str, right: tuple[str, ...] = (), shrinks: str | None = None) -> Table:
    """An empty table without lines.

    Args:
        names: The headings.
        right: Headings of the columns that are aligned to the right.
        shrinks: Heading of the column that is cut where the terminal is too narrow; None cuts none.
    """
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in names:
        justify: Literal["left", "right"] = "right" if name in right else "left"
        width = None if name != shrinks else 1
        grid.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis", ratio=width)
    return grid


def add_row(grid: Table, *cells: str) -> None:
    """Add a row of plain text; control characters and line breaks are removed."""
    grid.add_row(*(Text(printable(cell)) for cell in cells))


def show(grid: Table) -> None:
    """Print a table on stdout."""
    Console(width=columns(), highlight=False).print(grid)


def printable(text: str) -> str:
    """The text in one line, without characters that a terminal would obey."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable() or letter == "\u200d")
