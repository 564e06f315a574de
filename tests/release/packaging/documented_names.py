"""The names that files for operators may use: existing settings and accepted commands."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nano_banana_mcp.http.server import GRACE_SECONDS
from nano_banana_mcp.install.hosts import TOKEN
from nano_banana_mcp.settings import Settings, variables

FILES = (
    "Dockerfile",
    "compose.yaml",
    "packaging/Caddyfile",
    "packaging/kubernetes.yaml",
    "packaging/nano-banana-mcp.service",
    "docs/deploy.md",
)

SETTINGS = {*variables(), TOKEN}


def longest_end_seconds() -> float:
    """How long a server with default settings may take to end: its grace, and the end of a submit that hangs."""
    return GRACE_SECONDS + float(Settings.model_fields["timeout_seconds"].default) + 2


def settings_in(text: str) -> set[str]:
    """Every name that looks like a setting of ours."""
    return set(re.findall(r"\b(?:DEFAPI|NANO_BANANA)_[A-Z][A-Z_]*[A-Z]\b", text))


def commands_in(text: str) -> Iterator[list[str]]:
    """The arguments of every call of ``nano-banana-mcp``, directly or through the container ``admin``."""
    call = r"(?:(?:^|[\s`/])nano-banana-mcp|docker compose run --rm admin)((?: [^\s`|>#]+)+)"
    for match in re.finditer(call, text, re.MULTILINE):
        # Of "…:/var/lib/nano-banana-mcp nano-banana-mcp token list" the last name is the program's.
        arguments = match[1].rpartition("nano-banana-mcp")[2].split()
        if arguments:
            yield arguments
