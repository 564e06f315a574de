"""The documents are true: their tables are made from the code, and what they name exists."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from nano_banana_mcp.install.hosts import HOSTS, KEY, NAME, Secret, Server, input_of
from nano_banana_mcp.settings import EXAMPLE_KEY, variables
from nano_banana_tools.completions import MODELS
from nano_banana_tools.registry import tools
from tests.support.document_commands import documents
from tests.support.documents import DOCUMENTS, renewed
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
READMES = ["README.md", "README.ko.md"]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_tables_are_as_the_code_says(document: Path) -> None:
    """If not: python -m tests.support.documents"""
    if document.name == "dependencies.md" and (sys.platform, sys.version_info[:2]) != ("linux", (3, 11)):
        pytest.skip("the table is of Linux and Python 3.11: elsewhere other packages are needed")
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
    prose = re.sub(looked_up, "", FENCE.sub("", README), flags=re.MULTILINE)
    assert len(prose.split()) <= 600


@pytest.mark.parametrize("page", READMES)
def test_the_first_screen_of_a_readme_has_two_pictures_of_the_sandbox_then_key_install_and_ask(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    parts = ["docs/before.jpg", "docs/after.jpg", "## 1.", "https://defapi.org", "## 2.", "## 3."]
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    first = text[: text.index("## 1.")]
    assert ("sandbox" if page == "README.md" else "샌드박스") in re.sub("<img.*?>", "", first)
    assert len(first.splitlines()) <= 20


def test_both_readmes_have_the_same_commands_and_entries() -> None:
    """But for the comments."""

    def lines(page: str) -> list[str]:
        text = (ROOT / page).read_text(encoding="utf-8")
        code = [*re.findall(r"^ {4,}(\S.*)$", FENCE.sub("", text), re.MULTILINE), *FENCE.findall(text)]
        return sorted(re.sub(r"\s+# .*", "", line) for line in code)

    assert lines("README.md") == lines("README.ko.md")


@pytest.mark.parametrize("page", READMES)
def test_a_readme_names_every_model_and_every_tool_that_a_model_sees(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    seen = [tool.name for tool in tools() if (tool.meta or {}).get("ui", {}).get("visibility") != ["app"]]
    for name in (*MODELS, *seen):
        assert f"| `{name}`" in text, name


@pytest.mark.parametrize("page", READMES)
def test_the_entries_to_copy_are_those_that_install_writes_and_an_output_folder(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    desktop, vs_code = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL))
    stored, typed = Secret(KEY, "stored", EXAMPLE_KEY), Secret(KEY, "input")
    for block, table, host, secret in (
        (desktop, "mcpServers", HOSTS["claude-desktop"], stored),
        (desktop, "mcpServers", HOSTS["cursor"], stored),
        (desktop, "mcpServers", HOSTS["windsurf"], stored),
        (vs_code, "servers", HOSTS["vscode"], typed),
    ):
        assert table == host.table
        entry = host.entry(host, NAME, Server(("/path/to/nano-banana-mcp",), secret=secret))
        entry["env"]["NANO_BANANA_OUTPUT_DIR"] = "~/Pictures/nano-banana"
        assert block[table] == {NAME: entry}, host.id
    assert vs_code["inputs"] == [input_of(typed)]


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_every_row_of_a_table_has_the_columns_of_its_head(document: Path) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", FENCE.sub("", document.read_text(encoding="utf-8")), re.MULTILINE):
        head, rule, *rows = table.splitlines()
        assert re.fullmatch(r"\|(?: ?:?-+:? ?\|)+", rule), head
        for row in rows:
            assert len(re.findall(r"(?<!\\)\|", row)) == len(re.findall(r"(?<!\\)\|", head)), row


@pytest.mark.parametrize("file", documents(), ids=lambda path: path.name)
def test_every_place_that_a_document_links_to_exists(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for target, part in re.findall(r"\]\((?![a-z+-]+:)([^)#]*)(?:#([^)]+))?\)", text):
        page = file.parent / target if target else file
        assert page.exists(), target
        assert not part or part in headings(page.read_text(encoding="utf-8")), (target, part)
    for target in re.findall(r'src="(?!https?:)([^"]+)"', text):
        assert (file.parent / target).exists(), target


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_every_file_that_a_page_for_developers_names_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    names = re.findall(r"`([\w.-]+(?:/[\w.-]*)+|\w+\.py)`", text)
    assert len(names) > 5
    for name in names:
        folders = [ROOT, ROOT / "server/nano_banana_mcp"]
        assert any((folder / name).exists() for folder in folders) or any(ROOT.glob(f"t*/**/{name}")), name


def test_the_layout_names_every_package_of_the_server() -> None:
    layout = FENCE.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))[0]
    for package in (ROOT / "server/nano_banana_mcp").glob("*/__init__.py"):
        assert f" {package.parent.name}/" in layout, package


@pytest.mark.parametrize("page", ["docs/faq.md", "README.ko.md"])
def test_a_table_of_errors_quotes_messages_as_the_program_writes_them(page: str) -> None:
    """A quotation may leave out, with an ellipsis or a number, what differs from message to message."""
    row = r"^\| ((?:`install`: )?\*[^*].*?) \|[^|]*\|[^|]*\|$"
    cells = re.findall(row, (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    quotations = [quotation for cell in cells for quotation in re.findall(r"\*([^*]+)\*", cell)]
    assert len(quotations) > 5
    constants = [text for folder in ("server", "tools") for text in string_constants(ROOT / folder)]
    for quotation in quotations:
        for part in re.split(r"…|\d+", quotation):
            assert any(part.strip() in constant for constant in constants), quotation


def string_constants(folder: Path) -> list[str]:
    """The texts in the code of a folder, without the docstrings."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in folder.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


def headings(text: str) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_install_commands_name_this_folder_since_no_index_has_the_package() -> None:
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
