"""A Dockerfile, read as far as these tests need it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stage:
    """What is between two FROM lines: each instruction with the rest of its line."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """The instructions of one kind."""
        return [rest for kind, rest in self.instructions if kind == name]

    def command(self, name: str) -> list[str]:
        """The JSON form of ENTRYPOINT, CMD, or the command of HEALTHCHECK."""
        [rest] = self.all(name)
        words: list[str] = json.loads(rest[rest.index("[") :])
        return words


def stages(path: Path) -> list[Stage]:
    """The stages of a Dockerfile."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    parsed: list[Stage] = []
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        name, _, rest = line.partition(" ")
        assert name.isupper(), line
        if name == "FROM":
            parsed.append(Stage(rest))
        else:
            parsed[-1].instructions.append((name, rest.strip()))
    return parsed
