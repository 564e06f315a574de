"""What is written down of a submit, so that it is lost by nobody's crash and paid for once."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace

from nano_banana_mcp.defapi.errors import DefapiError, NotSent, Refused
from nano_banana_mcp.defapi.wire import SubmitRequest
from nano_banana_mcp.generations.ledger import Ledger
from nano_banana_mcp.generations.limits import Check
from nano_banana_mcp.generations.models import Generation

logger = logging.getLogger(__name__)

UNKNOWN_OUTCOME = (
    "It was sent, or about to be, but no answer was recorded. The picture may have been charged. It is never sent "
    "again by itself."
)


class MadeMeanwhile(Exception):
    """Another call with the same ``request_id`` was faster."""


class SubmitJournal:
    """Writes down one submit: the intent before each attempt, what became of it after.

    Args:
        check: Whether the caller may have another task.

    Attributes:
        generation: The intent, and then what became of it.
    """

    def __init__(
        self, ledger: Ledger, intent: Generation, now: Callable[[], float], check: Check | None = None
    ) -> None:
        self._ledger = ledger
        self._now = now
        self._check = check
        self.generation = intent

    async def before(self) -> None:
        """Raise if somebody else has made this request meanwhile, or the caller may not make it."""
        written = await self._ledger.begin(self.generation, self._check)
        if written.intent_id != self.generation.intent_id:
            raise MadeMeanwhile

    async def after(self, outcome: str | DefapiError) -> None:
        """Keep the id, or the honest words for what is not known; forget what was not made."""
        if isinstance(outcome, Refused | NotSent):
            await self._ledger.forget(self.generation.intent_id)
            return
        if isinstance(outcome, str):
            self.generation = self.generation.accepted(outcome, self._now())
            logger.info("task %s submitted to %s", outcome, self.generation.model, extra={"task_id": outcome})
        else:
            self.generation = replace(self.generation, message=outcome.message)
            logger.warning("the outcome of a submit is unknown; it is kept as %s", self.generation.intent_id)
        await self._ledger.save(self.generation)
        # A callback may have been faster than the answer, and may know what the answer does not.
        self.generation = await self._ledger.find(self.generation.intent_id) or self.generation


def honest(known: Generation) -> Generation:
    """With words for an outcome that nobody recorded."""
    return known if known.task_id or known.message else replace(known, message=UNKNOWN_OUTCOME)


def hash_of(request: SubmitRequest) -> str:
    """A hash of all that is asked for, to tell a repeated request from another."""
    canonical = json.dumps(request.body(), sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return hashlib.sha256(canonical).hexdigest()


def in_words(request: SubmitRequest) -> str | None:
    """What is asked for besides prompt and model; of references only their number, since they may be huge."""
    words = [value for value in (request.aspect_ratio, request.image_size) if value]
    if request.images:
        words.append(f"{len(request.images)} reference{'s' if len(request.images) > 1 else ''}")
    return ", ".join(words) or None
