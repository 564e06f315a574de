"""YAML: one member of a mapping near the root is put in or taken out by its lines, everything else stays.

ruamel.yaml reads the positions and writes the entry. It does not write the whole document, because it would change the
layout of lines that are not ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scanner import Scanner

from nano_banana_mcp.install.errors import Refused, Unreadable
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

T = TypeVar("T")

MAX_DEPTH = 200
"""Levels of nesting, as in JSON. The time that the reader takes grows with the square of the depth."""

_NULLS = ("", "~", "null", "Null", "NULL")
_MAX_WIDTH = 1_000_000
"""Line width in characters for the writer, so that it does not fold long values."""


def dumped(value: Any, indent: int = 2) -> str:
    """The value in block style, in the order of its keys.

    Args:
        indent: Blanks for each level of a mapping.
    """
    writer = YAML(pure=True)
    writer.indent(mapping=indent, sequence=2, offset=0)
    writer.width = _MAX_WIDTH
    stream = StringIO()
    writer.dump(value, stream)
    return stream.getvalue()


def entry(text: str, path: Keys) -> Any:
    """The value at this path of keys, None if there is no such value.

    Raises:
        Unreadable: The text is not YAML, or a key on the path is not a mapping or occurs twice.
    """
    node = _composed(text)
    for key in path:
        if node is None or _is_null(node):
            return None
        member = _find(text, node, key)
        node = member[1] if member else None
    return None if node is None else _plain(text, node)


def put(text: str, path: Keys, value: Any) -> str:
    """The text with this value at this path of two keys or more. Of more than two keys, only the last may be missing.

    Raises:
        Unreadable: The text is not YAML, or a key on the path is not a mapping or occurs twice.
        Refused: The change would alter other lines.
    """
    before = _outline(text, path)
    for edits in _ways_in(text, path, value):
        new = spliced(text, edits)
        try:
            if _outline(new, path) == before and same(entry(new, path), value):
                return new
        except Unreadable:
            continue
    raise layout_refused()


def drop(text: str, path: Keys) -> str:
    """The text without what is at this path of two keys or more.

    Raises:
        Unreadable: The text is not YAML, or a key on the path is not a mapping or occurs twice.
        Refused: The change would alter other lines.
    """
    before = _outline(text, path)
    root = _composed(text)
    holder_key, holder = _holder(text, root, path)
    key, value = _member(text, holder, path[-1])
    start, end = _lines(text, holder, key)
    colon = text.find(":", holder_key.end_mark.index)
    # Some hosts do not accept a name without a value as an empty mapping.
    ways = [[(start, end, "")]] if len(holder.value) > 1 else [[(start, end, ""), (colon + 1, colon + 1, " {}")]]
    number = [child for child, _ in holder.value].index(key)
    if holder.flow_style:
        first = holder.value[number - 1][1].end_mark.index if number else key.start_mark.index
        last = value.end_mark.index
        if not number and len(holder.value) > 1:
            last = holder.value[1][0].start_mark.index
        ways = [[(first, last, "")]]
    for edits in ways:
        new = spliced(text, edits)
        try:
            if _outline(new, path) == before and entry(new, path) is None:
                return new
        except Unreadable:
            continue
    raise layout_refused()


def _ways_in(text: str, path: Keys, value: Any) -> Iterator[list[Edit]]:
    root = _composed(text)
    if root is None or _is_null(root):
        yield [_block(text, len(text), 0, {path[0]: {path[1]: value}}, 2)]
        return
    member = _find(text, root, path[0])
    if root.flow_style:
        reason = "the whole file is written in braces, which this command does not change"
        raise unreadable(text, root.start_mark.index, reason)
    base = root.start_mark.column
    unit = _unit(root)
    if member is None:
        for at in _ends(text, root, root.end_mark.index):
            yield [_block(text, at, base, {path[0]: {path[1]: value}}, unit)]
        return
    holder_key, holder = _holder(text, root, path)
    base = holder_key.start_mark.column
    if _is_null(holder):
        start, end = holder.start_mark.index, holder.end_mark.index
        # The position of a missing value is that of the next key.
        line = _line_end(text, holder_key.end_mark.index if start == end else end)
        yield [(start, end, ""), _block(text, line, base + unit, {path[-1]: value}, unit)]
        return
    current = _find(text, holder, path[-1])
    if current and isinstance(current[1], ScalarNode) and not isinstance(value, (dict, list)):
        yield [(current[1].start_mark.index, current[1].end_mark.index, json.dumps(value, ensure_ascii=False))]
    if holder.flow_style:
        if not holder.value:
            colon, end = text.find(":", holder_key.end_mark.index), holder.end_mark.index
            block = _block(text, _line_end(text, end), base + unit, {path[-1]: value}, unit)
            yield [(colon + 1, end, ""), block]
        inner = f"{json.dumps(path[-1])}: {json.dumps(value, ensure_ascii=False)}"
        if current:
            yield [(current[0].start_mark.index, current[1].end_mark.index, inner)]
        else:
            at = holder.end_mark.index - 1
            yield [(at, at, (", " if holder.value else "") + inner)]
            yield [(at, at, " " + inner)]  # after a comma that is there
        return
    column = holder.start_mark.column
    if current:
        start, end = _lines(text, holder, current[0])
        yield [(start, end, _block(text, start, column, {path[-1]: value}, unit)[2])]
        return
    for at in _ends(text, holder, holder.end_mark.index):
        yield [_block(text, at, column, {path[-1]: value}, unit)]
    first = _line_end(text, holder_key.end_mark.index)
    yield [_block(text, first, column, {path[-1]: value}, unit)]


def _ends(text: str, node: MappingNode, limit: int) -> list[int]:
    """Positions for new lines at the end of a block: before the comments after it, or after them."""
    return [_content_end(text, node.start_mark.index, limit), text.rfind("\n", 0, limit) + 1, limit]


def _content_end(text: str, start: int, limit: int) -> int:
    lines = text[start:limit].splitlines(keepends=True)
    while lines and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
        limit -= len(lines.pop())
    return limit


def _lines(text: str, holder: MappingNode, key: Node) -> tuple[int, int]:
    """The lines of a member of a block mapping, without the comments after it."""
    start = key.start_mark.index
    later = [other.start_mark.index for other, _ in holder.value if other.start_mark.index > start]
    end = _content_end(text, start, min(later, default=holder.end_mark.index))
    begin = text.rfind("\n", 0, start) + 1
    return (begin if indent_at(text, start) is not None else start), end


def _line_end(text: str, at: int) -> int:
    newline = text.find("\n", at)
    return len(text) if newline < 0 else newline + 1


def _block(text: str, at: int, column: int, value: dict[str, Any], unit: int) -> Edit:
    eol = eol_of(text)
    lines = [" " * column + line for line in dumped(value, unit).splitlines()]
    gap = eol if at and text[at - 1] != "\n" else ""
    return at, at, gap + eol.join(lines) + eol


def _unit(root: MappingNode) -> int:
    for _, value in root.value:
        if isinstance(value, MappingNode) and not value.flow_style:
            deeper = value.start_mark.column - root.start_mark.column
            if 1 < deeper < 10 and value.start_mark.line > root.start_mark.line:  # what the writer supports
                return int(deeper)
    return 2


class _BoundedScanner(Scanner):
    """Refuses deep brackets where they open; the composer sees them only when the scanner has read on."""

    def fetch_flow_collection_start(self, TokenClass: Any, to_push: str) -> None:  # noqa: N803 - its name
        super().fetch_flow_collection_start(TokenClass, to_push)
        if self.flow_level > MAX_DEPTH:
            raise MaxDepthExceededError(problem_mark=self.reader.get_mark())


def _composed(text: str) -> Any:
    reader = YAML(typ="safe", pure=True)
    reader.Scanner = _BoundedScanner
    reader.max_depth = MAX_DEPTH
    return _guarded(text, lambda: reader.compose(text))


def _plain(text: str, node: Node) -> Any:
    return _guarded(text, lambda: YAML(typ="safe", pure=True).constructor.construct_document(node))


def _outline(text: str, path: Keys) -> Any:
    """The document without the value at this path, as plain tuples that can be compared."""
    root = _composed(text)
    if root is None or _is_null(root):
        return ()
    _take_out(text, root, path)
    return _guarded(text, lambda: _tuples(root, {})) if root.value else ()


def _tuples(node: Node, numbers: dict[int, int]) -> Any:
    if id(node) in numbers:  # an alias: its anchor is compared already
        return numbers[id(node)]
    numbers[id(node)] = len(numbers)
    if isinstance(node, MappingNode):
        return node.tag, tuple((_tuples(key, numbers), _tuples(value, numbers)) for key, value in node.value)
    if isinstance(node, SequenceNode):
        return node.tag, tuple(_tuples(item, numbers) for item in node.value)
    return node.tag, node.value


def _take_out(text: str, node: Node, path: Keys) -> None:
    member = _find(text, node, path[0])
    if member is None:
        return
    value = member[1]
    if path[1:] and not _is_null(value):
        _take_out(text, value, path[1:])
    if not path[1:] or _is_null(value) or (isinstance(value, MappingNode) and not value.value):
        node.value.remove(member)  # hosts treat empty and missing alike


def _holder(text: str, root: Node, path: Keys) -> tuple[Any, Any]:
    """The key and the mapping that contain the last key of the path."""
    member = (None, root)
    for key in path[:-1]:
        member = _member(text, member[1], key)
    return member


def _find(text: str, node: Node, key: str) -> tuple[Any, Any] | None:
    if not isinstance(node, MappingNode):
        raise unreadable(text, node.start_mark.index, "a mapping (“name: value”) is expected here")
    members = [(name, value) for name, value in node.value if isinstance(name, ScalarNode) and name.value == key]
    if len(members) > 1:
        at = members[1][0].start_mark.index
        raise unreadable(text, at, f"“{key}” occurs twice; it is not clear which one the host reads")
    return members[0] if members else None


def _member(text: str, node: Any, key: str) -> tuple[Any, Any]:
    member = _find(text, node, key)
    assert member is not None
    return member


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == "tag:yaml.org,2002:null" and node.value in _NULLS


def _guarded(text: str, do: Callable[[], T]) -> T:
    try:
        return do()
    except MaxDepthExceededError as error:
        raise unreadable(text, error.problem_mark.index, f"it is nested deeper than {MAX_DEPTH} levels") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or str(error)
        raise Unreadable(reason, mark.line + 1, mark.column + 1) if mark else Refused(reason) from None
    except ReaderError as error:
        raise unreadable(text, error.position, f"a character that YAML does not allow: {error.reason}") from None
