"""The documents are true: their tables are made from the code, and what they name exists."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from nano_banana_mcp.settings import variables
from tests.support.document_commands import documents
from tests.support.documents import DOCUMENTS, renewed
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_tables_are_as_the_code_says(document: Path) -> None:
    """If not: python -m tests.support.documents"""
    text = document.read_text(encoding="utf-8")
    assert "<!-- table:" in text
    assert text == renewed(text)


def test_every_setting_is_in_the_documents() -> None:
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    for variable in variables():
        assert f"`{variable}`" in page


def test_the_readme_is_read_in_two_minutes() -> None:
    """At 300 words a minute, without tables, code and addresses, which are looked up rather than read."""
    looked_up = r"<!--.*?-->|^(?:\||    ).*$|\]\([^)]*\)|<img [^>]*>"
    prose = re.sub(looked_up, "", README, flags=re.MULTILINE)
    assert len(prose.split()) <= 600


@pytest.mark.parametrize("file", documents(), ids=lambda path: path.name)
def test_every_place_that_a_document_links_to_exists(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for target, part in re.findall(r"\]\((?![a-z+-]+:)([^)#]*)(?:#([^)]+))?\)", text):
        page = file.parent / target if target else file
        assert page.exists(), target
        assert not part or part in headings(page.read_text(encoding="utf-8")), (target, part)
    for target in re.findall(r'src="(?!https?:)([^"]+)"', text):
        assert (file.parent / target).exists(), target


def headings(text: str) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_what_is_to_be_installed_is_this_folder_since_no_index_has_it() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    settings = (ROOT / "server/nano_banana_mcp/settings.py").read_text(encoding="utf-8")
    for text in ((ROOT / "docs/deploy.md").read_text(encoding="utf-8"), settings):
        named = re.findall(r"install '([^'\[]*)\[(\w+)\]'", text)
        assert named
        assert all(place == "." and extra in extras for place, extra in named), named


def test_the_configurations_in_the_documents_are_well_formed() -> None:
    text = (ROOT / "docs/hosts.md").read_text(encoding="utf-8")
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    assert blocks
    assert all("nano-banana" in block["mcpServers"] for block in blocks)


def test_every_make_target_that_a_document_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for document in documents():
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"(?:`| {4})make ([a-z]+)", text):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_project_names_no_package_index() -> None:
    for file in ("constraints.txt", "tests/lab/benchmarks/fastmcp_pins.txt", "Makefile", "pyproject.toml", ".ci/run"):
        text = re.sub(r'(?m)^Repository = ".*"$', "", (ROOT / file).read_text(encoding="utf-8"))
        assert not re.search(r"https?://|index-url[ =]\S*/", text), file
