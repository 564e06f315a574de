"""The documents are true: their tables are made from the code, and what they name exists."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from nano_banana_mcp.settings import Settings
from tests.support.documents import DOCUMENTS, ROOT, renewed

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_tables_are_as_the_code_says(document: Path) -> None:
    """If not: python -m tests.support.documents"""
    text = document.read_text(encoding="utf-8")
    assert "<!-- table:" in text
    assert text == renewed(text)


def test_every_setting_is_in_the_readme() -> None:
    for field in Settings.model_fields.values():
        assert f"`{field.validation_alias}`" in README


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", "docs/deploy.md", "docs/performance.md", "docs/sandbox.md"]
)
def test_every_file_that_a_document_links_to_exists(document: str) -> None:
    file = ROOT / document
    text = file.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?://)([^)#]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for target in targets:
        assert (file.parent / target).exists(), target


def test_what_is_to_be_installed_is_this_folder_since_no_index_has_it() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    settings = (ROOT / "server/nano_banana_mcp/settings.py").read_text(encoding="utf-8")
    for text in (README, (ROOT / "docs/deploy.md").read_text(encoding="utf-8"), settings):
        named = re.findall(r"install '([^'\[]*)\[(\w+)\]'", text)
        assert named
        assert all(place == "." and extra in extras for place, extra in named), named


def test_the_configurations_in_the_readme_are_well_formed() -> None:
    blocks = re.findall(r"```(json|toml)\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 3
    for kind, text in blocks:
        parsed = json.loads(text) if kind == "json" else tomllib.loads(text)
        assert "nano-banana" in json.dumps(parsed)


def test_every_make_target_that_a_document_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for target in re.findall(r"(?:`| {4})make ([a-z]+)", text):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_project_names_no_package_index() -> None:
    for file in ("constraints.txt", "tests/benchmarks/fastmcp_pins.txt", "Makefile", "pyproject.toml", ".ci/run"):
        assert not re.search(r"https?://|index-url[ =]\S*/", (ROOT / file).read_text(encoding="utf-8")), file
