"""What a studio tells of its work: to whoever counts it, and to whoever wants to hear of changed tasks. By default
nobody does.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

from nano_banana_mcp.generations.models import Generation

Why = Literal["poll", "look"]
"""Why the API was asked: a wait's schedule said so, or a caller."""

Verdict = Literal["accepted", "late", "repeated", "refused", "too_large"]
"""What became of a callback: it led to a look; the end was known; too soon after another; forged or malformed."""


class Instrumentation:
    """Told what happens, and does nothing with it; override what is of interest. Nothing here may raise or wait."""

    def submitting(self, intent: Generation) -> AbstractContextManager[object]:
        """Around a submit with all of its attempts; what is raised tells how it ended."""
        return nullcontext()

    def repeated(self, intent: Generation) -> None:
        """A ``request_id`` was answered by what it led to before; nothing was sent."""

    def querying(self, known: Generation) -> AbstractContextManager[object]:
        """Around a query of a task."""
        return nullcontext()

    def seen(self, latest: Generation, why: Why) -> None:
        """A query has told a state that was not the end yet, or the end for the first time."""

    def called_back(self, known: Generation | None, verdict: Verdict) -> None:
        """A callback came; ``known`` is what it is about, unless it is refused."""

    def waiting(self) -> AbstractContextManager[object]:
        """Around a call that waits."""
        return nullcontext()

    def called(self, tool: str, outcome: str, seconds: float) -> None:
        """A tool was called."""


NO_INSTRUMENTATION = Instrumentation()


class Audience:
    """Nobody; to be overridden."""

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return 0

    def changed(self, generation: Generation) -> None:
        """The state of a generation has changed."""
