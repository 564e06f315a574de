"""What all commands share: exit codes, errors on stderr, tables and JSON on stdout, and ids that people shorten."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Any, Literal, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nano_banana_mcp.common.key_store import has_extra
from nano_banana_mcp.defapi import errors
from nano_banana_mcp.defapi.schemas import TASK_ID
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.ledger.queries import SqlLedger
from nano_banana_mcp.settings import SITE, variable_of

FAILED = 1
USAGE_ERROR = 2
DEFAULT_COLUMNS = 120
"""Width in characters where the output is not a terminal and COLUMNS is not set."""
COLUMN_GAP = 2
"""Characters between two columns of a table."""
MAX_LISTED_IDS = 5
"""Ids that are shown where a prefix fits several."""

_ADVICE = {
    errors.KeyRefused.hint: f"Check the key and your account at {SITE}.",
    errors.SubmitFailed.hint: "Check your credits with `nano-banana-mcp doctor`, then try again later.",
    errors.OutcomeUnknown.hint: (
        "Do not repeat it at once: it could be charged twice. Look at `nano-banana-mcp history` and at your account "
        f"at {SITE} first."
    ),
    errors.TaskNotFound.hint: "`nano-banana-mcp history` lists your requests.",
    "Check the task_id: it is the one that generate_image returned.": "`nano-banana-mcp history` lists your requests.",
    "Call wait_for_image first.": "Try again when it is finished.",
    "Wait for one of them with wait_for_image, then try again.": "Try again when one of them is finished.",
    "then call get_task.": "then run `nano-banana-mcp history settle`.",
    "get_task reads it again after an update of this server.": (
        "`nano-banana-mcp history settle` reads it again after an update."
    ),
    "Check the task_id. A task can only be queried with the API key that created it.": (
        "Check the id. A task can only be queried with the API key that created it."
    ),
    "or the resource_uri of one of your images.": "or the nanobanana:// address of one of your pictures.",
    "Call add_reference for a new one.": "Name a file with --image instead.",
    "Call add_reference.": "Name a file with --image instead.",
}
"""What errors advise a model, and what they advise a person instead."""


def key_advice() -> str:
    """Where to get a key and where to put it; `key set` is named only where it can store a key."""
    in_keyring = "Store it with `nano-banana-mcp key set`, or set DEFAPI_API_KEY"
    store = in_keyring if has_extra() else "Set DEFAPI_API_KEY to it"
    return f"Get a key at {SITE}. {store}. Without a key, --sandbox draws pictures for free."


def for_person(text: str) -> str:
    """The text of an error, with advice for a person where it has advice for a model."""
    text = text.replace(errors.KeyMissing.hint, key_advice())
    budget = "total_credits_per_day" if "all users' budget" in text else "credits_per_day"
    text = text.replace("The operator of this server can raise it.", f"Raise it with {variable_of(budget)}.")
    for advice, replacement in _ADVICE.items():
        text = text.replace(advice, replacement)
    return text


def explained(error: Exception) -> str:
    """What happened and what to do, for a person."""
    hint = getattr(error, "hint", "")
    return for_person(f"{error.message} {hint}".strip() if hasattr(error, "message") else str(error))


class NotSelected(LookupError):
    """No request, or more than one, has this id. The text says which."""


def select(ledger: SqlLedger, text: str) -> Generation:
    """The request with this id, or the only one whose id begins with it.

    Raises:
        NotSelected: No request, or more than one, has this id.
        LedgerError: The ledger cannot be read.
    """
    if not TASK_ID.fullmatch(text):
        raise NotSelected(f"{text[:80]!r} is not a task id. `nano-banana-mcp history` lists the ids")
    if exact := ledger.find(text):
        return exact
    matches = ledger.find_by_prefix(text, limit=MAX_LISTED_IDS + 1)
    if not matches:
        raise NotSelected(f"no request has an id that begins with {text}. `nano-banana-mcp history` lists the ids")
    if len(matches) > 1:
        ids = ", ".join(generation.public_id for generation in matches[:MAX_LISTED_IDS])
        more = " and others" if len(matches) > MAX_LISTED_IDS else ""
        raise NotSelected(f"several ids begin with {text}: {ids}{more}. Add more letters")
    return matches[0]


def select_batch(ledger: SqlLedger, text: str) -> str:
    """The id of the only batch with an id that is, or begins with, this text.

    Raises:
        NotSelected: No batch, or more than one, has this id.
        LedgerError: The ledger cannot be read.
    """
    matches = ledger.find_batches_by_prefix(text, limit=2)
    if not matches:
        raise NotSelected(f"there is no batch {text[:80]!r}. `nano-banana-mcp history` lists their ids")
    if len(matches) > 1:
        raise NotSelected(f"several batches begin with {text}: {matches[0]} and others. Add more letters")
    return matches[0]


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
    grid = Table(box=None, pad_edge=False, padding=(0, COLUMN_GAP, 0, 0), header_style="bold")
    for name in names:
        justify: Literal["left", "right"] = "right" if name in right else "left"
        # rich cuts every column at once; `ratio` only marks the one that `_fitting_console` cuts before that.
        grid.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis", ratio=1 if name == shrinks else None)
    return grid


def add_row(grid: Table, *cells: str) -> None:
    """Add a row of plain text; control characters and line breaks are removed."""
    grid.add_row(*(Text(printable(cell)) for cell in cells))


def room_to_shrink(grid: Table) -> int:
    """Columns of the terminal that the other columns of a table leave to the one that shrinks; negative if too few."""
    return columns() - _whole_width(grid)


def _whole_width(grid: Table) -> int:
    """Width of a table in characters, without the content of the column that shrinks."""
    cells = [[cell.cell_len for cell in column.cells if isinstance(cell, Text)] for column in grid.columns]
    whole = (
        max([cell_len(str(column.header)), *lengths])
        for column, lengths in zip(grid.columns, cells, strict=True)
        if not column.flexible
    )
    return sum(whole) + COLUMN_GAP * len(grid.columns)


def console(stream: TextIO | None = None, *, width: int | None = None) -> Console:
    """A console on a stream; NO_COLOR removes every style.

    Args:
        stream: Standard output by default.
        width: Width in characters, that of the terminal by default.
    """
    plain = bool(os.environ.get("NO_COLOR"))
    color_system: Literal["auto"] | None = None if plain else "auto"
    return Console(file=stream or sys.stdout, width=width or columns(), highlight=False, color_system=color_system)


def show(grid: Table) -> None:
    """Print a table on stdout."""
    _fitting_console(grid).print(grid)


def rendered_lines(grid: Table) -> list[str]:
    """The lines that :func:`show` prints."""
    target = _fitting_console(grid)
    with target.capture() as capture:
        target.print(grid)
    return capture.get().splitlines()


def _fitting_console(grid: Table) -> Console:
    """A console on which only the column that shrinks is cut: lines pass the edge of a terminal that is too narrow."""
    room = max(1, room_to_shrink(grid))
    for column in grid.columns:
        if column.flexible:
            column.max_width = room
    return console(width=max(columns(), _whole_width(grid) + 1))


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout, escaped where a code page lacks letters."""
    escape = (sys.stdout.encoding or "").lower() != "utf-8"
    sys.stdout.write(json.dumps(value, ensure_ascii=escape, indent=2) + "\n")


def printable(text: str) -> str:
    """The text in one line, without characters that a terminal would obey."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable() or letter == "\u200d")
