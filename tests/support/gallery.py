"""`nano-banana-mcp gallery` as a real process, and a ledger for it to show."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from nano_banana_mcp.generations.models import GeneratedImage, Generation, Status, new_generation_id
from tests.support.clients import spawned

NOW = 1_790_000_000.0
API = "https://api.invalid"
URL = "https://pictures.invalid/a.png"


@dataclass(frozen=True)
class Opened:
    """A gallery.

    Attributes:
        url: As it was printed, with its token.
        root: Where it is served, without a slash at the end.
    """

    process: subprocess.Popen[str]
    url: str
    root: str


@contextmanager
def gallery(settings: Mapping[str, str], *arguments: str) -> Iterator[Opened]:
    """A gallery process by these settings."""
    with spawned("gallery", "--no-browser", *arguments, **settings) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        url = line.removeprefix("Your pictures: ").strip()
        assert url.startswith("http"), line + process.stderr.read()
        try:
            yield Opened(process, url, f"http://{urlsplit(url).netloc}")
        finally:
            process.kill()


def drawn(prompt: str, age: float = 0.0, *, url: str | None = URL, count: int = 1, **more: Any) -> Generation:
    """A finished generation of ``count`` pictures that was asked for ``age`` seconds ago; without a URL, bytes only."""
    begun = NOW - age
    known = Generation(
        new_generation_id(), prompt=prompt, model="google/gempix2", api="https://api.invalid", created_at=begun
    )
    done = replace(
        known.accepted(f"ta{known.generation_id[3:]}", begun),
        status=Status.SUCCESS,
        finished_at=begun + 30,
        credits_consumed="0.500000",
        images=tuple(GeneratedImage(url and f"{url}?{n}", "image/png") for n in range(count)),
    )
    return replace(done, **more)
