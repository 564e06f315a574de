"""The errors that commands print have advice for people and none for models."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import nano_banana_mcp
from nano_banana_mcp.commands.console import for_person
from nano_banana_mcp.defapi.errors import KeyMissing

SOURCE = Path(nano_banana_mcp.__file__).parent
LAYERS = ("defapi", "generations", "images", "media", "service", "tracking")
"""Whose errors commands print."""
FOR_MODELS = re.compile(
    r"\b(generate_image|get_task|wait_for_image|view_image|get_account|browse_images|add_reference|upload_image"
    r"|task_id|resource_uri|the user)\b"
)


def sentences(file: Path) -> Iterator[str]:
    """The texts of a module with several words, but those that are documentation."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in documentation:
            continue
        if " " in node.value.strip():
            yield node.value


def test_the_layers_have_advice_for_models() -> None:
    texts = [text for layer in LAYERS for file in (SOURCE / layer).rglob("*.py") for text in sentences(file)]
    assert sum(FOR_MODELS.search(text) is not None for text in texts) > 5


@pytest.mark.parametrize("layer", LAYERS)
def test_no_error_for_a_person_advises_to_call_a_tool(layer: str) -> None:
    for file in sorted((SOURCE / layer).rglob("*.py")):
        for text in sentences(file):
            assert not FOR_MODELS.search(for_person(text)), f"{file.name}: {text}"


@pytest.mark.parametrize("is_installed", [True, False])
def test_the_advice_for_a_missing_key_names_key_set_only_where_the_keyring_is_installed(
    is_installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nano_banana_mcp.common.key_store.find_spec", lambda name: object() if is_installed else None)
    advice = for_person(KeyMissing.hint)
    assert ("`nano-banana-mcp key set`" in advice) is is_installed
    for words in ("DEFAPI_API_KEY", "https://defapi.org", "--sandbox"):
        assert words in advice
