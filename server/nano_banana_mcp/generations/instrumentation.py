"""Events of the server that metrics can count. By default they are ignored."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

from nano_banana_mcp.generations.models import Generation

Why = Literal["poll", "look"]
"""What caused a query: the schedule of a wait, or anything else."""

Verdict = Literal["accepted", "late", "repeated", "refused", "too_large"]
"""How a callback was handled: it led to a query; the end was known; too soon after another; forged or malformed;
larger than the bound."""


class Instrumentation:
    """Receives events and ignores them; override the methods of interest. They must not raise or block."""

    def submitting(self, generation: Generation) -> AbstractContextManager[object]:
        """Surrounds a submit with all its attempts. An exception that passes through says how it failed."""
        return nullcontext()

    def repeated(self, generation: Generation) -> None:
        """A repeated ``request_id`` was answered with the earlier generation; nothing was sent."""

    def querying(self, generation: Generation) -> AbstractContextManager[object]:
        """Surrounds a query."""
        return nullcontext()

    def seen(self, generation: Generation, why: Why) -> None:
        """A query found that a task is unfinished, or found its end for the first time."""

    def called_back(self, generation: Generation | None, verdict: Verdict) -> None:
        """A callback arrived for this generation (None if it was refused)."""

    def waiting(self) -> AbstractContextManager[object]:
        """Surrounds a call that waits."""
        return nullcontext()

    def called(self, tool: str, outcome: str, seconds: float) -> None:
        """A tool was called and took ``seconds``."""


NO_INSTRUMENTATION = Instrumentation()
