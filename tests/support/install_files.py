"""Running the command in this process, and reading configurations without its help."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

Run = Callable[..., tuple[int, str]]

_JSON_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


def _yaml() -> YAML:
    """A reader that accepts unknown tags."""
    reader = YAML(typ="safe", pure=True)
    reader.constructor.add_multi_constructor("!", lambda loader, suffix, node: ("tagged", suffix, str(node.value)))
    return reader


def parsed(form: str, data: bytes) -> Any:
    """The value of a configuration file, {} of an empty one."""
    text = data.decode("utf-8-sig")
    if form == "toml":
        return tomllib.loads(text)
    if form == "yaml":
        return _yaml().load(text) or {}
    plain = _JSON_TOKEN.sub(lambda match: match[0] if match[0][0] == '"' else " ", text)
    plain = re.sub(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])', lambda match: match[1] or "", plain)
    return json.loads(plain) if plain.strip() else {}


def without(value: Any, table: str, name: str) -> Any:
    """The value without the entry, and without a table that is empty then."""
    rest = {key: dict(item) if key == table and isinstance(item, dict) else item for key, item in value.items()}
    if rest.get(table):
        rest[table].pop(name, None)
    if not rest.get(table):
        rest.pop(table, None)
    rest.pop("inputs", None)
    return rest


def listing(folder: Path) -> dict[str, bytes]:
    """All files of a folder with what is in them."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
