"""What the wheel holds: the sources without comments and with narrow indentation, the pages without both.

Line numbers stay, so a traceback names the line of the repository. Editable installs and the source archive have the
sources as they are.
"""

from __future__ import annotations

import io
import re
import tempfile
import tokenize
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FSTRING_START, _FSTRING_END = getattr(tokenize, "FSTRING_START", -1), getattr(tokenize, "FSTRING_END", -1)
"""From Python 3.12 on; before, such a string is one token."""

_COMMENT_LINE = re.compile(r"//(?:(?!\*/).)*|/\*(?:(?!\*/).)*\*/")


def without_comments(source: str) -> str:
    """Python without comments, indented by one blank a level: every token else, docstrings too, stays on its line."""
    lines = source.split("\n")
    within: set[int] = set()  # lines that begin inside a string, where blanks count
    opened = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        (row, column), (last, _) = token.start, token.end
        if token.type == tokenize.COMMENT:
            lines[row - 1] = lines[row - 1][:column].rstrip()
        elif token.type == tokenize.STRING:
            within.update(range(row + 1, last + 1))
        elif token.type == _FSTRING_START:
            opened = row
        elif token.type == _FSTRING_END:
            within.update(range(opened + 1, last + 1))
    return "\n".join([line if number in within else _dense(line) for number, line in enumerate(lines, 1)])


def _dense(line: str) -> str:
    text = line.lstrip(" ")
    return " " * ((len(line) - len(text) + 3) // 4) + text


def without_indentation(page: str) -> str:
    """HTML without blank lines, and without lines of CSS or JavaScript that are a comment. HTML's comments stay.

    Raises:
        ValueError: Something in it could reach over lines in which white space counts.
    """
    lines = [line.strip() for line in page.split("\n")]
    for number, line in enumerate(lines, 1):
        if line.count("`") % 2 or line.endswith("\\") or re.search("<(pre|textarea)", line, re.IGNORECASE):
            raise ValueError(f"line {number}: its white space may count: {line}")
    return "\n".join([line for line in lines if line and not _COMMENT_LINE.fullmatch(line)] + [""])


PACKED = {".py": without_comments, ".html": without_indentation}


class Packed(BuildHookInterface[BuilderConfig]):
    """Puts the packed copies into the wheel in place of their sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before the wheel is written. An editable install has the sources themselves."""
        if version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory()
        for package in map(Path(self.root).joinpath, self.build_config.packages):
            for source in sorted(package.rglob("*")):
                if source.suffix in PACKED:
                    name = source.relative_to(package.parent).as_posix()
                    copy = Path(self._folder.name, name)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    text = PACKED[source.suffix](source.read_text(encoding="utf-8"))
                    copy.write_text(text, encoding="utf-8", newline="\n")
                    build_data["force_include"][str(copy)] = name

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """After it was written."""
        if version != "editable":
            self._folder.cleanup()
