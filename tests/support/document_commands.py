"""The commands in the documents: their places, and the notes about running them.

A block of commands has a comment above it: ``<!-- run -->`` (a test runs each line), ``<!-- run elsewhere: where -->``
or ``<!-- not run: why -->``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from tests.support.paths import ROOT

PROGRAMS = {
    "nano-banana-mcp",
    "make",
    "pip",
    "pipx",
    "py",
    "python",
    "uv",
    "uvx",
    "uvicorn",
    "python3",
    "git",
    "docker",
    "claude",
    "gemini",
    "code",
    "npx",
    "curl",
    "sqlite3",
    "kubectl",
    "systemctl",
    "systemd-run",
    "tar",
    "install",
    "chmod",
    "export",
}

_BLOCK = re.compile(r"(?:<!-- (?P<mark>[^>]*?) -->\n\n?)?(?P<text>(?:^ {4,}\S.*\n?(?:^\s*\n(?= {4}))?)+)", re.MULTILINE)
_SHELLS = "(?:sh|bash|console|powershell)"
_FENCE = re.compile(rf"(?:<!-- (?P<mark>[^>]*?) -->\n\n?)?^```{_SHELLS}\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
_ANY_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"\s+# .*$")


@dataclass(frozen=True)
class Block:
    """Commands that stand together, in order, and the comment above them (``""``: none)."""

    document: str
    mark: str
    commands: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document}: {self.commands[0]}"


def documents() -> list[Path]:
    """Every document of the project."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "packaging").rglob("*.md")])


def blocks(document: Path) -> list[Block]:
    """The blocks of ``document`` that hold commands."""
    text = document.read_text(encoding="utf-8")
    plain = _ANY_FENCE.sub("", _FENCE.sub("", text))
    matches = [*_FENCE.finditer(text), *_BLOCK.finditer(plain)]
    name = document.relative_to(ROOT).as_posix()
    made = [Block(name, item["mark"] or "", _commands(item["text"])) for item in matches]
    return [block for block in made if block.commands]


def inline(document: Path) -> list[str]:
    """The calls of ``nano-banana-mcp`` within sentences."""
    text = document.read_text(encoding="utf-8")
    return [item for item in re.findall(r"`(nano-banana-mcp [^`\n]+)`", text) if "…" not in item]


def _commands(text: str) -> tuple[str, ...]:
    lines = [_COMMENT.sub("", line).strip() for line in text.replace("\\\n", " ").splitlines()]
    return tuple(re.sub(r"\s+", " ", line) for line in lines if _program(line) in PROGRAMS)


def _program(line: str) -> str:
    words = [word for word in line.split() if not re.match(r"[A-Z_]+=", word)]
    return PureWindowsPath(words[0]).name if words else ""
