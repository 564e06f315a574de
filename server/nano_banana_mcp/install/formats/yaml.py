"""YAML: one member of a mapping near the root, put in or taken out by its lines, with all else kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import yaml

from nano_banana_mcp.install.config_file import (
    Keys,
    Refused,
    Unreadable,
    eol_of,
    indent_at,
    not_kept,
    same,
    spliced,
    unreadable,
)

T = TypeVar("T")
_NULLS = ("", "~", "null", "Null", "NULL")


def entry(text: str, path: Keys) -> Any:
    """The value at this path of keys, None where there is none.

    Raises:
        Unreadable: it is no YAML, or something on the way is no mapping or there twice.
    """
    node = _composed(text)
    for key in path:
        if node is None or _is_null(node):
            return None
        found = _find(text, node, key)
        node = found[1] if found else None
    return None if node is None else _plain(text, node)


def put(text: str, path: Keys, value: Any) -> str:
    """The text with this value at this path of two keys or more. Where there are more, all but the last are there.

    Raises:
        Unreadable: it is no YAML, or something on the way is no mapping or there twice.
        Refused: it cannot be done without changing more.
    """
    before = _canonical(text, path)
    for edits in _ways_in(text, path, value):
        new = spliced(text, edits)
        try:
            if _canonical(new, path) == before and same(entry(new, path), value):
                return new
        except Unreadable:
            continue
    raise not_kept()


def drop(text: str, path: Keys) -> str:
    """The text without what is at this path of two keys or more.

    Raises:
        Unreadable: it is no YAML, or something on the way is no mapping or there twice.
        Refused: it cannot be done without changing more.
    """
    before = _canonical(text, path)
    root = _composed(text)
    holder_key, holder = _holder(text, root, path)
    key, value = _found(text, holder, path[-1])
    start, end = _lines(text, holder, key)
    colon = text.find(":", holder_key.end_mark.index)
    # Not every host takes a name without a value for an empty mapping.
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
            if _canonical(new, path) == before and entry(new, path) is None:
                return new
        except Unreadable:
            continue
    raise not_kept()


def _ways_in(text: str, path: Keys, value: Any) -> Iterator[list[tuple[int, int, str]]]:
    root = _composed(text)
    if root is None or _is_null(root):
        yield [_block(text, len(text), 0, {path[0]: {path[1]: value}}, 2)]
        return
    found = _find(text, root, path[0])
    if root.flow_style:
        raise unreadable(text, root.start_mark.index, "the whole file is written in braces, which is not changed here")
    base = root.start_mark.column
    unit = _unit(root)
    if found is None:
        for at in _ends(text, root, root.end_mark.index):
            yield [_block(text, at, base, {path[0]: {path[1]: value}}, unit)]
        return
    holder_key, holder = _holder(text, root, path)
    base = holder_key.start_mark.column
    if _is_null(holder):
        start, end = holder.start_mark.index, holder.end_mark.index
        line = _line_end(text, max(end, holder_key.end_mark.index))
        yield [(start, end, ""), _block(text, line, base + unit, {path[-1]: value}, unit)]
        return
    known = _find(text, holder, path[-1])
    if known and isinstance(known[1], yaml.ScalarNode) and not isinstance(value, (dict, list)):
        yield [(known[1].start_mark.index, known[1].end_mark.index, json.dumps(value, ensure_ascii=False))]
    if holder.flow_style:
        if not holder.value:
            colon, end = text.find(":", holder_key.end_mark.index), holder.end_mark.index
            block = _block(text, _line_end(text, end), base + unit, {path[-1]: value}, unit)
            yield [(colon + 1, end, ""), block]
        inner = f"{json.dumps(path[-1])}: {json.dumps(value, ensure_ascii=False)}"
        if known:
            yield [(known[0].start_mark.index, known[1].end_mark.index, inner)]
        else:
            at = holder.end_mark.index - 1
            yield [(at, at, (", " if holder.value else "") + inner)]
            yield [(at, at, " " + inner)]  # after a comma that is there
        return
    column = holder.start_mark.column
    if known:
        start, end = _lines(text, holder, known[0])
        yield [(start, end, _block(text, start, column, {path[-1]: value}, unit)[2])]
        return
    for at in _ends(text, holder, holder.end_mark.index):
        yield [_block(text, at, column, {path[-1]: value}, unit)]
    first = _line_end(text, holder_key.end_mark.index)
    yield [_block(text, first, column, {path[-1]: value}, unit)]


def _ends(text: str, node: yaml.MappingNode, limit: int) -> list[int]:
    """Where new lines may go at the end of a block: before the comments after it, or after them."""
    return [_content_end(text, node.start_mark.index, limit), text.rfind("\n", 0, limit) + 1, limit]


def _content_end(text: str, start: int, limit: int) -> int:
    lines = text[start:limit].splitlines(keepends=True)
    while lines and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
        limit -= len(lines.pop())
    return limit


def _lines(text: str, holder: yaml.MappingNode, key: yaml.Node) -> tuple[int, int]:
    """The lines of a member of a block mapping, without the comments after it."""
    start = key.start_mark.index
    later = [other.start_mark.index for other, _ in holder.value if other.start_mark.index > start]
    end = _content_end(text, start, min(later, default=holder.end_mark.index))
    begin = text.rfind("\n", 0, start) + 1
    return (begin if indent_at(text, start) is not None else start), end


def _line_end(text: str, at: int) -> int:
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1


def _block(text: str, at: int, column: int, value: dict[str, Any], unit: int) -> tuple[int, int, str]:
    eol = eol_of(text)
    written = yaml.safe_dump(
        value, sort_keys=False, default_flow_style=False, allow_unicode=True, indent=unit, width=float("inf")
    )
    lines = [" " * column + line for line in written.splitlines()]
    gap = eol if at and text[at - 1] != "\n" else ""
    return at, at, gap + eol.join(lines) + eol


def _unit(root: yaml.MappingNode) -> int:
    for _, value in root.value:
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            deeper = value.start_mark.column - root.start_mark.column
            if 1 < deeper < 10 and value.start_mark.line > root.start_mark.line:  # what PyYAML can write
                return int(deeper)
    return 2


def _composed(text: str) -> Any:
    return _guarded(text, lambda: yaml.compose(text, Loader=yaml.SafeLoader))


def _plain(text: str, node: yaml.Node) -> Any:
    return _guarded(text, lambda: yaml.SafeLoader("").construct_document(node))


def _canonical(text: str, path: Keys) -> str:
    """The document written anew without what is at this path, so that two can be compared."""
    root = _composed(text)
    if root is None or _is_null(root):
        return ""
    _take_out(text, root, path)
    return _guarded(text, lambda: str(yaml.serialize(root))) if root.value else ""


def _take_out(text: str, node: yaml.Node, path: Keys) -> None:
    found = _find(text, node, path[0])
    if found is None:
        return
    held = found[1]
    if path[1:] and not _is_null(held):
        _take_out(text, held, path[1:])
    if not path[1:] or _is_null(held) or (isinstance(held, yaml.MappingNode) and not held.value):
        node.value.remove(found)  # empty and absent are one to the hosts


def _holder(text: str, root: yaml.Node, path: Keys) -> tuple[Any, Any]:
    """The mapping that the last key of the path is in, after the key it stands under."""
    found = (None, root)
    for key in path[:-1]:
        found = _found(text, found[1], key)
    return found


def _find(text: str, node: yaml.Node, key: str) -> tuple[Any, Any] | None:
    if not isinstance(node, yaml.MappingNode):
        raise unreadable(text, node.start_mark.index, "a mapping (“name: value”) is expected here")
    found = [(name, value) for name, value in node.value if isinstance(name, yaml.ScalarNode) and name.value == key]
    if len(found) > 1:
        at = found[1][0].start_mark.index
        raise unreadable(text, at, f"“{key}” is there twice; which one counts is not certain")
    return found[0] if found else None


def _found(text: str, node: Any, key: str) -> tuple[Any, Any]:
    found = _find(text, node, key)
    assert found is not None
    return found


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null" and node.value in _NULLS


def _guarded(text: str, do: Callable[[], T]) -> T:
    try:
        return do()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = error.problem or str(error)
        raise Unreadable(what, mark.line + 1, mark.column + 1) if mark else Refused(what) from None
    except yaml.reader.ReaderError as error:
        raise unreadable(text, error.position, f"a character that YAML does not allow: {error.reason}") from None
    except RecursionError:
        raise unreadable(text, 0, "it is nested too deeply") from None
