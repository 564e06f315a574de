"""TOML: one table is put into a document or taken out of it by tomlkit, everything else stays."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, InlineTable, Item
from tomlkit.toml_document import TOMLDocument

from nano_banana_mcp.install.errors import Unreadable
from nano_banana_mcp.install.formats.text import Keys, eol_of, layout_refused, same, unreadable

_POSITION = re.compile(r" ?\(at (?:line (\d+), column (\d+)|end of document)\)")


def read(text: str) -> dict[str, Any]:
    """The value of a document.

    Raises:
        Unreadable: The text is not TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        position = _POSITION.search(str(error))
        reason = _POSITION.sub("", str(error))
        if position and position[1]:
            raise Unreadable(reason, int(position[1]), int(position[2])) from None
        raise unreadable(text, len(text), reason) from None
    except RecursionError:
        raise unreadable(text, 0, "it is nested too deeply") from None


def entry(text: str, path: Keys) -> Any:
    """The value at this path of keys, None if there is no such value.

    Raises:
        Unreadable: The text is not TOML, or a key on the path is not a table.
    """
    value: Any = read(text)
    for number, key in enumerate(path):
        if not isinstance(value, dict):
            raise unreadable(text, _position(text, path[number - 1]), f"“{path[number - 1]}” is not a table")
        value = value.get(key, {} if number + 1 < len(path) else None)
    return value


def put(text: str, path: Keys, value: Any) -> str:
    """The text with this value at this path of two keys or more; a new table goes to the end.

    Raises:
        Unreadable: The text is not TOML, or a key on the path is not written as a table.
        Refused: The change would alter other lines.
    """
    expected = read(text)
    _set(expected, text, path, value)
    document = _parse(text)
    holder = document.get(path[0])
    if isinstance(holder, (InlineTable, AoT)) or (holder is not None and not hasattr(holder, "items")):
        at = _position(text, path[0])
        raise unreadable(text, at, f"“{path[0]}” is not written as tables [{path[0]}.NAME]")
    current = entry(text, path)
    if current is not None and same(current, value):
        return text
    if len(path) > 2 or current is not None:
        new = _edited(document, lambda: _replace(document, path, value))
    else:
        new = _appended(text, path, value)
    new = _with_line_ends(new, text)
    if not same(_read_or_empty(new), expected):
        raise layout_refused()
    return new


def drop(text: str, path: Keys) -> str:
    """The text without the value at this path of two keys or more.

    Raises:
        Unreadable: The text is not TOML, or a key on the path is not a table.
        Refused: The change would alter other lines.
    """
    expected = read(text)
    holder = expected
    for key in path[:-1]:
        holder = holder[key]
    current = holder.pop(path[-1])
    # A table as this module writes it is cut out literally; tomlkit may rewrite the lines around it.
    literal = _table(path, current, eol_of(text)) if isinstance(current, dict) else ""
    if literal and text.count(literal) == 1:
        new = _without_gap(text.replace(literal, ""), text)
        if _is_same_document(new, expected, path):
            return new
    document = _parse(text)
    new = _with_line_ends(_edited(document, lambda: _delete(document, path)), text)
    new = _without_gap(new, text)
    if _is_same_document(new, expected, path):
        return new
    raise layout_refused()


def _parse(text: str) -> TOMLDocument:
    try:
        return tomlkit.parse(text)
    except (TOMLKitError, RecursionError):  # valid for Python's own parser, which has read it already
        raise layout_refused() from None


def _edited(document: TOMLDocument, edit: Callable[[], None]) -> str:
    try:
        edit()
        return tomlkit.dumps(document)
    except (TOMLKitError, KeyError, ValueError, TypeError, AttributeError, IndexError):
        # tomlkit does not support every layout, such as tables that are split over the document.
        raise layout_refused() from None


def _replace(document: TOMLDocument, path: Keys, value: Any) -> None:
    holder: Any = document
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = _item(value)


def _delete(document: TOMLDocument, path: Keys) -> None:
    holder: Any = document
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]


def _appended(text: str, path: Keys, value: Any) -> str:
    """The text with a new table at its end, in front of which everything stays byte by byte."""
    eol = eol_of(text)
    gap = "" if not text else eol if text.endswith("\n") else eol * 2
    return text + gap + _table(path, value, eol)


def _table(path: Keys, value: Any, eol: str) -> str:
    """The lines of a table with its header."""
    document = tomlkit.document()
    parent = tomlkit.table(is_super_table=True)
    parent.append(path[-1], _item(value))
    document.append(path[0], parent)
    return tomlkit.dumps(document).replace("\n", eol)


def _without_gap(new: str, text: str) -> str:
    """The text without the empty line that stood above a removed table."""
    eol = eol_of(text)
    return new.removesuffix(eol) if new.endswith(eol * 2) and not text.endswith(eol * 2) else new


def _is_same_document(text: str, expected: dict[str, Any], path: Keys) -> bool:
    return same(_without_empty(_read_or_empty(text), path), _without_empty(expected, path))


def _item(value: Any) -> Item:
    if not isinstance(value, dict):
        item: Item = tomlkit.item(value)
        return item
    table = tomlkit.table()
    for key, inner in sorted(value.items(), key=lambda pair: isinstance(pair[1], dict)):
        table.append(key, _item(inner))
    return table


def _with_line_ends(new: str, text: str) -> str:
    if eol_of(text) == "\n" or "\r\n" not in text:
        return new
    return re.sub(r"(?<!\r)\n", "\r\n", new) if not re.search(r"(?<!\r)\n", text) else new


def _set(value: Any, text: str, path: Keys, new: Any) -> None:
    for key in path[:-1]:
        value = value.setdefault(key, {})
        if not isinstance(value, dict):
            raise unreadable(text, _position(text, key), f"“{key}” is not written as tables [{key}.NAME]")
    value[path[-1]] = deepcopy(new)


def _without_empty(value: dict[str, Any], path: Keys) -> dict[str, Any]:
    """The value without a table of servers that is empty: hosts treat empty and missing alike."""
    return {key: item for key, item in value.items() if key != path[0] or item != {}}


def _read_or_empty(text: str) -> dict[str, Any]:
    try:
        return read(text)
    except Unreadable:
        return {}


def _position(text: str, key: str) -> int:
    """Where a key of the root stands first, as a header or in an assignment."""
    match = re.search(rf"^\s*(?:\[+\s*)?[\"']?{re.escape(key)}[\"']?\s*[=.\]]", text, re.MULTILINE)
    return len(text[: match.end()]) - len(match[0].lstrip()) if match else 0
