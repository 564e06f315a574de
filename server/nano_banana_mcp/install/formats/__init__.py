"""Edit one entry in the text of a JSON, TOML or YAML file and leave everything else as it is."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

Format = Literal["json", "toml", "yaml"]

_MODULES = {"json": "jsonc", "toml": "toml", "yaml": "yaml"}


def editor_for(form: Format) -> Any:
    """The module with ``entry``, ``put`` and ``drop`` for this format, imported together with its parser."""
    return import_module(f"{__name__}.{_MODULES[form]}")
