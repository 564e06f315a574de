"""In any document the entry is added and removed, and the rest stays as it was."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from nano_banana_mcp.install.errors import Refused
from nano_banana_mcp.install.formats import jsonc, toml, yaml
from tests.support.install_files import parsed, without

pytestmark = pytest.mark.slow

ENTRY = {"command": "/opt/nano-banana-mcp", "args": ["--sandbox"], "env": {"A": "$B"}, "timeout": 300}
PATH = ("servers", "nano-banana")

_names = st.sampled_from(["servers", "a", "b c", "é", "//", "#x", "nano-banana", 'q"q', "0"])
_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
_scalars = (
    st.none() | st.booleans() | st.integers(-9, 9**20) | st.floats(allow_nan=False, allow_infinity=False) | _texts
)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3), max_leaves=8
)
_servers = st.dictionaries(_names.filter(lambda name: name != "nano-banana"), _values, max_size=3)
_documents = st.tuples(st.dictionaries(_names, _values, max_size=4), st.none() | _servers).map(
    lambda parts: {
        **{k: v for k, v in parts[0].items() if k != "servers"},
        **({"servers": parts[1]} if parts[1] is not None else {}),
    }
)
_space = st.lists(st.sampled_from([" ", "\n", "\r\n", "\t", "// c, } ]\n", '/* { " */', "\n  "]), max_size=3).map(
    "".join
)


@st.composite
def _jsonc(draw: st.DrawFn, value: Any) -> str:
    if isinstance(value, (dict, list)) and value:
        parts = []
        for item in value.items() if isinstance(value, dict) else [(None, item) for item in value]:
            key = "" if item[0] is None else f"{json.dumps(item[0])}{draw(_space)}:{draw(_space)}"
            parts.append(f"{draw(_space)}{key}{draw(_jsonc(item[1]))}{draw(_space)}")
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        return opening + ",".join(parts) + draw(st.sampled_from(["", ",", ", // last\n"])) + closing
    if isinstance(value, (dict, list)):
        return "{" + draw(_space) + "}" if isinstance(value, dict) else "[" + draw(_space) + "]"
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_an_entry_is_put_into_any_json_with_comments_and_removed(data: st.DataObject) -> None:
    value = data.draw(_documents)
    text = data.draw(_space) + data.draw(_jsonc(value)) + data.draw(_space)
    assert jsonc.read(text) == value
    new = jsonc.put(text, PATH, ENTRY)
    assert parsed("json", new.encode())["servers"]["nano-banana"] == ENTRY
    assert without(jsonc.read(new), *PATH) == without(value, *PATH)
    assert jsonc.put(new, PATH, ENTRY) == new or jsonc.entry(jsonc.put(new, PATH, ENTRY), PATH) == ENTRY
    assert without(jsonc.read(jsonc.drop(new, PATH)), *PATH) == without(value, *PATH)


_toml_keys = st.sampled_from(["a", "b", "servers.x.command", "'q q'.r", '"e\\u00e9"', "servers.y"])
_toml_values = st.sampled_from(
    ["1", "1.0", "true", '"#]["', "'[x]'", '"""\n[a]\n"""', "[1, # c\n 2]", "{ a = [{b = 1}] }", "1979-05-27"]
)
_toml_lines = st.one_of(
    st.tuples(_toml_keys, _toml_values).map(" = ".join),
    st.sampled_from(
        ["", "# [servers]", "[servers]", "[servers.z]", "[other] # x", "[[list]]", '["servers"."k k"]', "  "]
    ),
)


@given(st.lists(_toml_lines, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_an_entry_is_put_into_any_toml_and_removed(lines: list[str], eol: str, ended: bool) -> None:
    text = "\n".join(lines).replace("\n", eol) + (eol if ended else "")
    try:
        value = toml.read(text)
    except Refused:
        return
    try:
        new = toml.put(text, PATH, ENTRY)
    except Refused:
        return
    assert new.startswith(text)
    assert toml.entry(new, PATH) == ENTRY
    assert toml.put(new, PATH, ENTRY) == new
    assert repr(without(parsed("toml", new.encode()), *PATH)) == repr(without(value, *PATH))
    left = toml.drop(new, PATH)
    assert left in (text, text + "\n", text + eol)


@given(_documents, st.booleans(), st.sampled_from([2, 4]), st.lists(st.integers(0, 30)), st.booleans())
@settings(max_examples=50, deadline=None)  # each is parsed six times, in pure Python
def test_an_entry_is_put_into_any_yaml_and_removed(
    value: dict[str, Any], flow: bool, indent: int, comments: list[int], ended: bool
) -> None:
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = None if flow else False
    writer.indent(mapping=indent, sequence=indent, offset=0)
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared without a type
    stream = StringIO()
    writer.dump(value, stream)
    lines = stream.getvalue().splitlines()
    for at in comments:
        lines.insert(min(at, len(lines)), "# note: [")
    text = "\n".join(lines) + ("\n" if ended else "")
    if parsed("yaml", text.encode()) != value:
        return  # the comment fell into a text of many lines
    if any(line.startswith("{") for line in lines):
        return  # all in braces: refused
    new = yaml.put(text, PATH, ENTRY)
    assert yaml.entry(new, PATH) == ENTRY
    assert without(parsed("yaml", new.encode()), *PATH) == without(value, *PATH)
    left = yaml.drop(new, PATH)
    assert without(parsed("yaml", left.encode()), *PATH) == without(value, *PATH)
