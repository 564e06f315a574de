"""Running the command in this process, and reading configurations without its help."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Run = Callable[..., tuple[int, str]]

_JSON_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


class AnyTag(yaml.SafeLoader):
    """Takes tags of others."""


AnyTag.add_multi_constructor("!", lambda loader, suffix, node: ("tagged", suffix, str(node.value)))


def parsed(form: str, data: bytes) -> Any:
    """The value of a configuration file, {} of an empty one."""
    text = data.decode("utf-8-sig")
    if form == "toml":
        return tomllib.loads(text)
    if form == "yaml":
        return yaml.load(text, AnyTag) or {}
    plain = _JSON_TOKEN.sub(lambda found: found[0] if found[0][0] == '"' else " ", text)
    plain = re.sub(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])', lambda found: found[1] or "", plain)
    return json.loads(plain) if plain.strip() else {}


def without(value: Any, table: str, name: str) -> Any:
    """The value without the entry, and without a table that is empty then."""
    rest = {key: dict(held) if key == table and isinstance(held, dict) else held for key, held in value.items()}
    if rest.get(table):
        rest[table].pop(name, None)
    if not rest.get(table):
        rest.pop(table, None)
    rest.pop("inputs", None)
    return rest


def listing(folder: Path) -> dict[str, bytes]:
    """All files of a folder with what is in them."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
