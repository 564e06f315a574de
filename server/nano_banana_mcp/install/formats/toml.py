"""TOML: one table put at the end of a text, or taken out of it, with all else kept."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from typing import Any

from nano_banana_mcp.install.config_file import Keys, Refused, Unreadable, eol_of, not_kept, same, spliced, unreadable

_WORD = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_KEY = rf"{_WORD}(?:[ \t]*\.[ \t]*{_WORD})*"
_HEADER = re.compile(rf"\[\[?[ \t]*({_KEY})[ \t]*\]\]?[^\n]*\n?")
_ASSIGNED = re.compile(rf"({_KEY})[ \t]*=")
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_IN_VALUE = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}\n]', re.DOTALL
)
_PLACE = re.compile(r" ?\(at (?:line (\d+), column (\d+)|end of document)\)")


@dataclass(frozen=True, slots=True)
class Statement:
    """A header or an assignment: its text's range, line end included, and the full path it names."""

    start: int
    end: int
    path: Keys
    is_header: bool


def read(text: str) -> dict[str, Any]:
    """The value.

    Raises:
        Unreadable: it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _PLACE.search(str(error))
        what = _PLACE.sub("", str(error))
        if found and found[1]:
            raise Unreadable(what, int(found[1]), int(found[2])) from None
        raise unreadable(text, len(text), what) from None
    except RecursionError:
        raise unreadable(text, 0, "it is nested too deeply") from None


def entry(text: str, path: Keys) -> Any:
    """The value at this path of keys, None where there is none.

    Raises:
        Unreadable: it is no TOML, or something on the way is no table.
    """
    value: Any = read(text)
    for number, key in enumerate(path):
        if not isinstance(value, dict):
            statement = next(found for found in _statements(text) if found.path[:number] == path[:number])
            raise unreadable(text, statement.start, f"“{path[number - 1]}” is not a table")
        value = value.get(key, {} if number + 1 < len(path) else None)
    return value


def put(text: str, path: Keys, value: Any) -> str:
    """The text with this table, at its old place or at the end; or with this value in a table.

    Raises:
        Unreadable: it is no TOML, or what is on the way is no table.
        Refused: it cannot be done without changing more.
    """
    old = read(text)
    if len(path) > 2:
        new = _assigned(text, path, value)
        _table_of(old, path)[path[-1]] = value
        if not same(read(new), old):
            raise not_kept()
        return new
    holder = old.setdefault(path[0], {})
    ours = _ours(text, path)
    if not isinstance(holder, dict) or ours.inline:
        at = next((statement.start for statement in ours.inline), 0)
        raise unreadable(text, at, f"“{path[0]}” is not written as tables [{path[0]}.NAME]")
    eol = eol_of(text)
    table = _table(path, value, eol)
    cuts = _cuts(text, ours.whole)
    if ours.whole and ours.whole[0].is_header:
        start, end, _ = cuts.pop(0)
        new = spliced(text, [(start, end, table), *cuts])
    else:
        kept = spliced(text, cuts)
        gap = "" if not kept else eol if kept.endswith("\n") else eol * 2
        new = kept + gap + table
    holder[path[1]] = value
    if not same(read(new), old):
        raise not_kept()
    return new


def drop(text: str, path: Keys) -> str:
    """The text without this table, or without this value in a table.

    Raises:
        Unreadable: it is no TOML.
        Refused: it cannot be done without changing more.
    """
    old = read(text)
    whole = _ours(text, path).whole
    if not whole:
        raise not_kept()
    edits = _cuts(text, whole)
    start = edits[0][0]
    blank = re.compile(r"\r?\n\r?\n\Z").search(text, 0, start)
    if blank:  # the empty line that was put before it
        edits.append((text.index("\n", blank.start()) + 1, start, ""))
    new = spliced(text, edits)
    del _table_of(old, path)[path[-1]]
    now = read(new)
    if not old[path[0]]:  # whether an empty table stays depends on how it was written
        now.setdefault(path[0], {})
    if not same(now, old):
        raise not_kept()
    return new


def _table_of(value: Any, path: Keys) -> Any:
    for key in path[:-1]:
        value = value[key]
    return value


def _assigned(text: str, path: Keys, value: Any) -> str:
    """The text with another value in an assignment, or with a new one at the end of its table's."""
    table = path[:-1]
    end = None
    for statement in _statements(text):
        if statement.path == path and not statement.is_header:
            found = _ASSIGNED.match(text, statement.start)
            assert found is not None
            comment = _value_end(text, found.end(), comment=True)
            kept = len(text[:comment].rstrip())
            return f"{text[: found.end()]} {_written(value)}{text[kept:]}"
        if statement.path == table if statement.is_header else end and statement.path[:-1] == table:
            end = statement.end
        elif statement.is_header and end:
            break
    if end is None or isinstance(value, dict):
        raise not_kept()
    eol = eol_of(text)
    gap = "" if text[:end].endswith("\n") else eol
    return f"{text[:end]}{gap}{_word(path[-1])} = {_written(value)}{eol}{text[end:]}"


@dataclass(frozen=True, slots=True)
class _Ours:
    whole: list[Statement]
    """All that makes up the table, in its order."""
    inline: list[Statement]
    """Assignments of something above it."""


def _ours(text: str, path: Keys) -> _Ours:
    statements = _statements(text)
    whole = [statement for statement in statements if statement.path[: len(path)] == path]
    inline = [
        statement
        for statement in statements
        if not statement.is_header and len(statement.path) < len(path) and path[: len(statement.path)] == statement.path
    ]
    return _Ours(whole, inline)


def _statements(text: str) -> list[Statement]:
    """Of a text that is TOML: its headers and assignments."""
    statements: list[Statement] = []
    table: Keys = ()
    at = 0
    while True:
        found = _BLANK.match(text, at)
        at = found.end() if found else at
        if at == len(text):
            return statements
        header = _HEADER.match(text, at)
        if header:
            table = _path(header[1])
            statements.append(Statement(at, header.end(), table, is_header=True))
            at = header.end()
            continue
        assigned = _ASSIGNED.match(text, at)
        if assigned is None:
            raise not_kept()
        end = _value_end(text, assigned.end())
        statements.append(Statement(at, end, table + _path(assigned[1]), is_header=False))
        at = end


def _path(key: str) -> Keys:
    value: Any = tomllib.loads(f"{key} = 0")
    names = []
    while isinstance(value, dict):
        [(name, value)] = value.items()
        names.append(name)
    return tuple(names)


def _value_end(text: str, at: int, *, comment: bool = False) -> int:
    """Where the line of a value ends, or the value itself: where the comment after it begins."""
    depth = 0
    for found in _IN_VALUE.finditer(text, at):
        if found[0] in ("[", "{"):
            depth += 1
        elif found[0] in ("]", "}"):
            depth -= 1
        elif depth == 0 and comment and found[0][0] in "#\n":
            return found.start()
        elif found[0] == "\n" and depth == 0:
            return found.end()
    return len(text)


def _cuts(text: str, whole: list[Statement]) -> list[tuple[int, int, str]]:
    runs: list[tuple[int, int]] = []
    for statement in whole:
        between = text[runs[-1][1] : statement.start] if runs else ""
        # A comment between assignments of one table belongs to it; one above a header may be about something else.
        joins = not between.strip() if statement.is_header else _BLANK.fullmatch(between) is not None
        if runs and joins:
            runs[-1] = (runs[-1][0], statement.end)
        else:
            runs.append((statement.start, statement.end))
    return [(start, end, "") for start, end in runs]


def _table(path: Keys, value: dict[str, Any], eol: str) -> str:
    own = {key: item for key, item in value.items() if not isinstance(item, dict)}
    lines = [f"[{'.'.join(map(_word, path))}]", *(f"{_word(key)} = {_written(item)}" for key, item in own.items())]
    for key, item in value.items():
        if isinstance(item, dict):
            lines += ["", f"[{'.'.join(map(_word, (*path, key)))}]"]
            lines += [f"{_word(name)} = {_written(inner)}" for name, inner in item.items()]
    return eol.join(lines) + eol


def _word(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _written(key)


def _written(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_word(key)} = {_written(item)}" for key, item in value.items()) + " }"
    raise Refused(f"the entry holds {value!r}, which is not written by this command")
