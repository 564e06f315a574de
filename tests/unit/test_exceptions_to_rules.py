"""Where a check is switched off for a line, the line says why."""

from __future__ import annotations

import io
import re
import tokenize
import tomllib
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

LOOKS_AWAY = re.compile(
    r"#\s*(type:\s*ignore(\[[\w, -]+\])?|noqa(:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*)?|pragma:\s*no (cover|mutate)|mypy:.*)"
    r"\s*(?P<why>.*)"
)
REASON = re.compile(r"(- |# )\S.*")


def unexplained(source: str) -> list[str]:
    """The comments that switch off a check, without a reason behind them or in a comment on the line above."""
    if not LOOKS_AWAY.search(source):  # tokens take long
        return []
    comments, above = [], -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, match = token.start[0], LOOKS_AWAY.match(token.string)
        if match is None:
            above = line
        elif not REASON.match(match["why"]) and above != line - 1:
            comments.append(f"{line}: {token.string}")
    return comments


def sources() -> list[Path]:
    return [file for folder in ("server", "tools", "tests", "examples") for file in (ROOT / folder).rglob("*.py")]


def test_every_exception_to_a_rule_says_why() -> None:
    missing = {
        str(file.relative_to(ROOT)): lines
        for file in sources()
        if (lines := unexplained(file.read_text(encoding="utf-8")))
    }
    assert not missing, "\n".join(f"{name}:{line}" for name, lines in missing.items() for line in lines)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("x = 1  # type: ignore\n", 1),
        ("x = 1  # type: ignore[misc]\n", 1),
        ("x = 1  # noqa\n", 1),
        ("x = 1  # noqa: E501, S101\n", 1),
        ("x = 1  # noqa: E501 -\n", 1),
        ("x = 1  # pragma: no cover\n", 1),
        ("# mypy: ignore-errors\n", 1),
        ("x = 1  # type: ignore[misc]  # it has no types\n", 0),
        ("x = 1  # noqa: E501 - a table\n", 0),
        ("# a table\nx = 1  # noqa: E501\n", 0),
        ("# a table\n\nx = 1  # noqa: E501\n", 1),
        ("x = '# noqa'\n", 0),
    ],
)
def test_a_suppression_without_a_reason_is_found(source: str, count: int) -> None:
    assert len(unexplained(source)) == count


def test_every_exclusion_in_a_configuration_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    settings = tomllib.loads(text)["tool"]
    ignored = settings["ruff"]["lint"]["ignore"]
    assert ignored
    for rule in ignored:
        assert re.search(rf'"{rule}".*# \w+', text), rule
    for override in settings["mypy"]["overrides"]:
        for module in override["module"]:
            assert re.search(rf'"{re.escape(module)}".*# \w+', text), module
