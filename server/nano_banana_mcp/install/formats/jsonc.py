"""JSON with comments and trailing commas: one value is changed in the text, everything else stays."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from nano_banana_mcp.install.errors import Unreadable
from nano_banana_mcp.install.formats.text import (
    Edit,
    Keys,
    eol_of,
    indent_at,
    layout_refused,
    same,
    spliced,
    unreadable,
)

MAX_DEPTH = 200
_SPACE = re.compile(r"(?:[ \t\r\n]+|//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_SCALAR = re.compile(r"(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.+-])")
_MAX_NUMBER_DIGITS = 300


@dataclass(slots=True)
class Node:
    """A value and its position in the text; for an object or a list also its parts, in order."""

    start: int
    end: int
    value: Any
    parts: list[Part] = field(default_factory=list)


@dataclass(slots=True)
class Part:
    """A member of an object, or an item of a list (its key is None)."""

    start: int
    key: str | None
    node: Node
    comma: int | None = None
    """Index after the comma that follows; None without a comma."""


def read(text: str) -> Any:
    """The value; None if the text has no value.

    Raises:
        Unreadable: The text is not JSON.
    """
    root = parsed(text)
    return root.value if root else None


def entry(text: str, path: Keys) -> Any:
    """The value at this path of keys, None if there is no such value.

    Raises:
        Unreadable: The text is not JSON, or a key on the path is not an object or occurs twice.
    """
    node = parsed(text)
    for number, key in enumerate(path):
        if node is None or (number and node.value is None):
            return None
        member = _find(text, node, key)
        node = member.node if member else None
    return node.value if node else None


@lru_cache(maxsize=2)
def parsed(text: str) -> Node | None:
    """The tree of values, not to be modified; None if the text has no value.

    Raises:
        Unreadable: The text is not JSON.
    """
    at = _after_space(text, 0)
    if at == len(text):
        return None
    root = _value(text, at, 0)
    at = _after_space(text, root.end)
    if at != len(text):
        raise unreadable(text, at, "there is more text after the end of the value")
    return root


def put(text: str, path: Keys, value: Any) -> str:
    """The text with this value at this path of keys. Missing objects on the path are created.

    Raises:
        Unreadable: The text is not JSON, or a key on the path is not an object or occurs twice.
        Refused: The change would alter other lines.
    """
    root = parsed(text)
    expected = _with(root.value if root else None, path, value)
    if root is None:
        head = text + (eol_of(text) if text.strip() and not text.endswith("\n") else "")
        eol = eol_of(text)
        new = head + _dumped(_nested(path, value), text, "  ", "") + eol
    else:
        pretty = "\n" in text[root.start : root.end] or not root.parts
        new = spliced(text, _put(text, root, path, value, _unit(text, root) if pretty else None))
    if not same(read(new), expected):
        raise layout_refused()
    return new


def drop(text: str, path: Keys) -> str:
    """The text without what is at this path.

    Raises:
        Unreadable: The text is not JSON, or a key on the path is not an object or occurs twice.
        Refused: The change would alter other lines.
    """
    root = parsed(text)
    holder = root
    for key in path[:-1]:
        holder = _member(text, holder, key).node if holder else None
    assert root is not None
    assert holder is not None
    removed = _member(text, holder, path[-1])
    expected = deepcopy(root.value)
    inner = expected
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return _without(text, holder, removed, expected)


def put_item(text: str, key: str, item: dict[str, Any]) -> str:
    """The text with this item at the end of the list under a key of the root.

    Raises:
        Unreadable: The text is not JSON, or the value is not a list.
        Refused: The change would alter other lines.
    """
    root = parsed(text)
    member = _find(text, root, key) if root else None
    if root is None or member is None or member.node.value is None:
        return put(text, (key,), [item])
    if not isinstance(member.node.value, list):
        raise unreadable(text, member.node.start, f"“{key}” is not a list")
    expected = {**root.value, key: [*member.node.value, item]}
    unit = _unit(text, root) if "\n" in text[root.start : root.end] else None
    new = spliced(text, _insert(text, member.node, None, item, unit))
    if not same(read(new), expected):
        raise layout_refused()
    return new


def drop_item(text: str, key: str, item: Any) -> str:
    """The text without this item in the list under a key of the root.

    Raises:
        Refused: The change would alter other lines.
    """
    root = parsed(text)
    assert root is not None
    holder = _member(text, root, key).node
    removed = next(part for part in holder.parts if same(part.node.value, item))
    items = [part.node.value for part in holder.parts if part is not removed]
    return _without(text, holder, removed, {**root.value, key: items})


def _value(text: str, at: int, depth: int) -> Node:
    opening = text[at : at + 1]
    if opening in ("{", "["):
        if depth == MAX_DEPTH:
            raise unreadable(text, at, f"it is nested deeper than {MAX_DEPTH} levels")
        return _container(text, at, depth + 1)
    if opening == '"':
        quoted = _string(text, at)
        return Node(at, quoted.end(), _unquoted(quoted[0]))
    scalar = _SCALAR.match(text, at)
    if scalar is None:
        raise unreadable(text, at, "a value is expected here")
    number = scalar[0]
    return Node(at, scalar.end(), number if len(number) > _MAX_NUMBER_DIGITS else json.loads(number))


def _container(text: str, start: int, depth: int) -> Node:
    is_object = text[start] == "{"
    closing = "}" if is_object else "]"
    node = Node(start, start, {} if is_object else [])
    at = _after_space(text, start + 1)
    while text[at : at + 1] != closing:
        if node.parts and node.parts[-1].comma is None:
            raise unreadable(text, at, f"“,” or “{closing}” is expected here")
        part_start, key = at, None
        if is_object:
            if text[at : at + 1] != '"':
                raise unreadable(text, at, "a name in double quotes is expected here")
            name = _string(text, at)
            key = _unquoted(name[0])
            at = _after_space(text, name.end())
            if text[at : at + 1] != ":":
                raise unreadable(text, at, "“:” is expected here")
            at = _after_space(text, at + 1)
        part = Part(part_start, key, _value(text, at, depth))
        node.parts.append(part)
        if is_object:
            node.value[key] = part.node.value
        else:
            node.value.append(part.node.value)
        at = _after_space(text, part.node.end)
        if text[at : at + 1] == ",":
            part.comma = at + 1
            at = _after_space(text, at + 1)
    node.end = at + 1
    return node


def _string(text: str, at: int) -> re.Match[str]:
    match = _STRING.match(text, at)
    if match is None:
        raise unreadable(text, at, "this string does not end, or contains characters that are not allowed in a string")
    return match


def _unquoted(quoted: str) -> str:
    return str(json.loads(quoted)) if "\\" in quoted else quoted[1:-1]


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _find(text: str, holder: Node, key: str) -> Part | None:
    if not isinstance(holder.value, dict):
        raise unreadable(text, holder.start, "an object “{…}” is expected here")
    members = [part for part in holder.parts if part.key == key]
    if len(members) > 1:
        raise unreadable(text, members[1].start, f"“{key}” occurs twice; it is not clear which one the host reads")
    return members[0] if members else None


def _member(text: str, holder: Node, key: str) -> Part:
    member = _find(text, holder, key)
    assert member is not None
    return member


def _with(value: Any, path: Keys, new: Any) -> Any:
    result = deepcopy(value) if isinstance(value, dict) else {}
    inner = result
    for key in path[:-1]:
        if not isinstance(inner.get(key), dict):
            inner[key] = {}
        inner = inner[key]
    inner[path[-1]] = new
    return result


def _nested(path: Keys, value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _put(text: str, holder: Node, path: Keys, value: Any, unit: str | None) -> list[Edit]:
    member = _find(text, holder, path[0])
    rest = _nested(path[1:], value)
    if member is None:
        return _insert(text, holder, path[0], rest, unit)
    if len(path) > 1 and member.node.value is not None:
        return _put(text, member.node, path[1:], value, unit)
    one_line = "\n" not in text[holder.start : holder.end]
    base = indent_at(text, member.start)
    new = _dumped(rest, text, None if one_line or base is None else unit, base or "")
    return [(member.node.start, member.node.end, new)]


def _insert(text: str, holder: Node, key: str | None, value: Any, unit: str | None) -> list[Edit]:
    eol = eol_of(text)
    close = holder.end - 1
    last = holder.parts[-1] if holder.parts else None
    anchor = (last.comma or last.node.end) if last else holder.start + 1
    tail = anchor + len(text[anchor:close].rstrip())
    trailing = last is not None and last.comma is not None
    edits = [(last.node.end, last.node.end, ",")] if last and not trailing else []
    in_lines = "\n" in text[holder.start : holder.end] or (unit is not None and last is None)
    if unit is None or not in_lines:
        gap = " " if last and (": " in text or ", " in text) else ""
        new = _part(key, _dumped(value, text, None, ""), " " if ": " in text else "")
        edits.append((tail, tail, f"{gap}{new}{',' if trailing else ''}"))
        return edits
    outer = re.match(r"[ \t]*", text[text.rfind("\n", 0, holder.start) + 1 : holder.start])
    closing_indent = outer[0] if outer else ""
    indent = (indent_at(text, last.start) if last else None) or closing_indent + unit
    new = eol + indent + _part(key, _dumped(value, text, unit, indent), " ") + ("," if trailing else "")
    if "\n" not in text[tail:close]:
        new += eol + closing_indent
    edits.append((tail, tail, new))
    return edits


def _part(key: str | None, value: str, gap: str) -> str:
    return value if key is None else f"{json.dumps(key, ensure_ascii=False)}:{gap}{value}"


def _without(text: str, holder: Node, removed: Part, expected: Any) -> str:
    number = holder.parts.index(removed)
    before = holder.parts[number - 1] if number else None
    end = removed.comma or removed.node.end
    edits = []
    if removed.comma is None and before is not None and before.comma is not None:
        edits.append((before.comma - 1, before.comma, ""))
    lead = len(text[: removed.start].rstrip())
    rest = text[holder.start + 1 : removed.start] + text[end : holder.end - 1]
    ways = [[(lead, end, "")], [(removed.start, end, "")]]
    if len(holder.parts) == 1 and not rest.strip():
        ways.insert(0, [(holder.start + 1, holder.end - 1, "")])
    for way in ways:
        new = spliced(text, edits + way)
        try:
            if same(read(new), expected):
                return new
        except Unreadable:
            continue
    raise layout_refused()


def _unit(text: str, root: Node) -> str:
    first = indent_at(text, root.parts[0].start) if root.parts else None
    return first or "  "


def _dumped(value: Any, text: str, unit: str | None, indent: str) -> str:
    if unit is None:
        gap = ": " in text
        return json.dumps(value, ensure_ascii=False, separators=(", ", ": ") if gap else (",", ":"))
    return json.dumps(value, ensure_ascii=False, indent=unit).replace("\n", eol_of(text) + indent)
