"""What the wheel holds is what the repository has, without comments, and without indentation in the pages."""

from __future__ import annotations

import ast
import io
import tarfile
import tokenize
import zipfile
from pathlib import Path

import pytest

from artefacts import build
from hatch_build import without_comments, without_indentation
from tests.support.paths import ROOT

PACKAGES = (ROOT / "server/nano_banana_mcp", ROOT / "tools/nano_banana_tools")
SOURCES = sorted(file for package in PACKAGES for file in package.rglob("*.py"))


def held(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name).decode("utf-8") for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("dist"))


@pytest.mark.package
def test_every_packed_module_is_its_source_to_the_interpreter_at_the_same_lines(wheel: Path) -> None:
    packed = held(wheel)
    for source in SOURCES:
        text = source.read_text(encoding="utf-8")
        there = packed["/".join(source.relative_to(ROOT).parts[1:])]
        trees = [ast.parse(code) for code in (there, text)]
        one, other = map(ast.dump, trees)
        assert one == other, source
        one_line, other_line = ([getattr(node, "lineno", None) for node in ast.walk(tree)] for tree in trees)
        assert one_line == other_line, source
        kinds = {token.type for token in tokenize.generate_tokens(io.StringIO(there).readline)}
        assert tokenize.COMMENT not in kinds, source


@pytest.mark.package
def test_a_wheel_made_of_the_source_archive_is_the_same_to_the_byte(wheel: Path, tmp_path: Path) -> None:
    archive = build("sdist", tmp_path / "sdist")
    with tarfile.open(archive) as source:
        source.extractall(tmp_path / "elsewhere", filter="data")
    [folder] = (tmp_path / "elsewhere").iterdir()
    assert "#" in (folder / "server/nano_banana_mcp/settings.py").read_text("utf-8"), "the sources are whole there"
    assert build("wheel", tmp_path / "again", folder).read_bytes() == wheel.read_bytes()


def test_comments_go_and_nothing_else_does() -> None:
    source = 'x = "# no comment"  # one\n\n\ndef f():\n    """Said. # this"""\n    # two\n    return """\n# text\n"""\n'
    assert without_comments(source) == (
        'x = "# no comment"\n\n\ndef f():\n """Said. # this"""\n\n return """\n# text\n"""\n'
    )


def test_indentation_becomes_narrow_but_within_strings() -> None:
    source = (
        'def f(a):\n    if a:\n        return (a,\n                  """\n    b\n""", f"""\n    {a}\n        c""")\n'
    )
    kept = 'def f(a):\n if a:\n  return (a,\n     """\n    b\n""", f"""\n    {a}\n        c""")\n'
    assert without_comments(source) == kept


def test_a_page_loses_indentation_blank_lines_and_lines_that_are_comments() -> None:
    page = "<!-- a -->\n<script>\n  /* b */\n  // c\n  const d = `e`;  // f\n\n  /* g */ h(); /* i */\n</script>\n"
    kept = "<!-- a -->\n<script>\nconst d = `e`;  // f\n/* g */ h(); /* i */\n</script>\n"
    assert without_indentation(page) == kept


@pytest.mark.parametrize("line", ["x = `two", "<pre>", "<textarea rows=2>", 'x = "on \\'])
def test_a_page_in_which_white_space_may_count_is_not_packed(line: str) -> None:
    with pytest.raises(ValueError, match="white space may count"):
        without_indentation(f"<p>\n{line}\n</p>\n")
