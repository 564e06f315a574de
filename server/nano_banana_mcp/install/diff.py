"""The change as a person sees it before it is written: a diff without secrets, ours or those of other entries."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

MASK = "••••••"
MAX_LINE_LETTERS = 160
_NAMED_SECRET = re.compile(
    r"""((?:[\w-]*(?:key|token|secret|passw|credential)[\w-]*|authorization|cookie)["']?\s*[:=]\s*(?:Bearer\s+)?)"""
    r"""("(?:\\.|[^"\\])*"|'[^']*'|[^\s"',\]}{\[#][^\s,}\]#]*)""",
    re.IGNORECASE,
)
_HARMLESS_VALUE = re.compile(r'"?(?:true|false|null|none|\d{1,6}|\$.*|Bearer \$.*)?"?', re.IGNORECASE)


def masked(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets and without values named key, token, secret, password and the like."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _NAMED_SECRET.sub(_hidden, text)


def difference(old: str, new: str, name: str, secrets: Iterable[str]) -> str:
    """A unified diff with one line of context; for very long lines, only the characters that change."""
    secrets = list(secrets)
    if max(map(len, [*old.split("\n"), *new.split("\n")])) > MAX_LINE_LETTERS * 4:
        return _characters(old, new, name, secrets)
    before, after = old.splitlines(), new.splitlines()
    lines = difflib.unified_diff(before, after, name, f"{name} (new)", n=1, lineterm="")
    shown = [masked(line, secrets) for line in lines]
    if before == after:
        shown = ["(only line ends or the end of the file differ)"]
    return "".join(f"{line[:MAX_LINE_LETTERS]}{'…' if len(line) > MAX_LINE_LETTERS else ''}\n" for line in shown)


def _characters(old: str, new: str, name: str, secrets: list[str]) -> str:
    first = _common_length(old, new)
    last = _common_length(old[first:][::-1], new[first:][::-1])
    removed, added = old[first : len(old) - last], new[first : len(new) - last]
    lines = [f"--- {name}", f"@@ at character {first + 1} @@"]
    lines += [f"{sign}{line}" for sign, part in (("-", removed), ("+", added)) if part for line in part.splitlines()]
    return "".join(f"{masked(line, secrets)}\n" for line in lines)


def _common_length(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((number for number, (a, b) in pairs if a != b), min(len(one), len(other)))


def _hidden(match: re.Match[str]) -> str:
    if _HARMLESS_VALUE.fullmatch(match[2]):
        return match[0]
    quote = match[2][0] if match[2][0] in "\"'" else ""
    return f"{match[1]}{quote}{MASK}{quote}"
