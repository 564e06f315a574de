"""A change as a person sees it before it is made: no secret in it, neither ours nor a neighbour's."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

MASK = "••••••"
LONGEST_LINE = 160
_TELLING = re.compile(
    r"""((?:[\w-]*(?:key|token|secret|passw|credential)[\w-]*|authorization|cookie)["']?\s*[:=]\s*(?:Bearer\s+)?)"""
    r"""("(?:\\.|[^"\\])*"|'[^']*'|[^\s"',\]}{\[#][^\s,}\]#]*)""",
    re.IGNORECASE,
)
_PLAIN = re.compile(r'"?(?:true|false|null|none|\d{1,6}|\$.*|Bearer \$.*)?"?', re.IGNORECASE)


def masked(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets, and without what is called a key, token, secret or password."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _TELLING.sub(_hidden, text)


def difference(old: str, new: str, name: str, secrets: Iterable[str]) -> str:
    """A unified diff with one line of context; of a file in one line, only what changes in it."""
    secrets = list(secrets)
    if max(map(len, [*old.split("\n"), *new.split("\n")])) > LONGEST_LINE * 4:
        return _in_place(old, new, name, secrets)
    before, after = old.splitlines(), new.splitlines()
    lines = difflib.unified_diff(before, after, name, f"{name} (new)", n=1, lineterm="")
    shown = [masked(line, secrets) for line in lines]
    if before == after:
        shown = ["(only line ends or the end of the file differ)"]
    return "".join(f"{line[:LONGEST_LINE]}{'…' if len(line) > LONGEST_LINE else ''}\n" for line in shown)


def _in_place(old: str, new: str, name: str, secrets: list[str]) -> str:
    first = _common(old, new)
    last = _common(old[first:][::-1], new[first:][::-1])
    gone, come = old[first : len(old) - last], new[first : len(new) - last]
    lines = [f"--- {name}", f"@@ at character {first + 1} @@"]
    lines += [f"{sign}{line}" for sign, part in (("-", gone), ("+", come)) if part for line in part.splitlines()]
    return "".join(f"{masked(line, secrets)}\n" for line in lines)


def _common(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((number for number, (a, b) in pairs if a != b), min(len(one), len(other)))


def _hidden(found: re.Match[str]) -> str:
    if _PLAIN.fullmatch(found[2]):
        return found[0]
    quote = found[2][0] if found[2][0] in "\"'" else ""
    return f"{found[1]}{quote}{MASK}{quote}"
