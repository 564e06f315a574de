"""What was paid for, and what became of it: the interface, and the ledger that lives in memory."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Protocol

from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.quotas import Check, usage_of
from nano_banana_mcp.images.image import EncodedImage

MAX_GENERATIONS = 10_000
MAX_IMAGE_BYTES = 256 * 1024 * 1024
MAX_LATENCIES = 50


class LedgerError(Exception):
    """The ledger cannot be used. The text says why, and what a person can do; it is safe to show to any caller.

    Attributes:
        for_operator: The same, and what the database itself says of it: names of hosts, users, databases.
    """

    is_safe_to_log = True

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.for_operator = f"{message} The database says: {detail}" if detail else message


class LedgerBusy(LedgerError):
    """It cannot be used now, and will be again: another process holds it, or the database is away."""


Changed = Callable[[str | None], Awaitable[None]]
"""Told the intent id of what another process has changed; None where that may be anything."""


class Ledger(Protocol):
    """Keeps generations, and the pictures that have no URL of their own.

    A generation whose end is known never changes again, and one whose task is known never forgets it, whoever
    saves it and in whatever order.

    Attributes:
        problem: Why what is kept now would not survive this process, where that is so.
        shared: Whether processes that know nothing of each other ask for the same tasks, so that :meth:`lease` and
            :meth:`follow` are of use.
    """

    problem: str | None
    shared: bool
    stores_images: bool

    async def save_image(self, generation_id: str, number: int, image: EncodedImage) -> None:
        """Store the bytes of an image that exist nowhere else."""

    async def load_image(self, generation_id: str, number: int) -> EncodedImage | None:
        """Return the bytes of an image that :meth:`save_image` stored."""

    async def begin(self, intent: Generation, check: Check | None = None) -> Generation:
        """Write down an intent before it is sent. Returns it, or its principal's earlier one with the same
        ``request_id``.

        Args:
            check: Looks at what is used already, in the same transaction.

        Raises:
            LimitReached: ``check`` says so; nothing was written.
            LedgerBusy: it could not be written for a passing reason; nothing should be sent now.
            LedgerError: it has a ``request_id`` and could not be written; nothing should be sent.
        """

    async def save(self, generation: Generation, encoded_images: dict[int, EncodedImage] | None = None) -> None:
        """Keep ``generation`` in its present state, and the bytes of its pictures by number."""

    async def forget(self, generation_id: str) -> None:
        """Drop an intent of which it is proven that nothing was made."""

    async def find(self, public_id: str) -> Generation | None:
        """The generation with this task id or intent id, whosever it is.

        Raises:
            LedgerBusy: nobody can tell now.
        """

    async def find_request(self, request_id: str, api: str | None, principal: str = "") -> Generation | None:
        """The generation that this API was asked for under this name by this principal.

        Raises:
            LedgerError: nobody can tell.
        """

    async def find_image(self, url: str, principal: str = "") -> Generation | None:
        """The principal's generation of a picture at exactly this URL."""

    async def encoded(self, generation_id: str, number: int) -> EncodedImage | None:
        """The bytes of a picture that came without a URL."""

    async def recent(self, limit: int, principal: str = "", search: str | None = None) -> list[Generation]:
        """The principal's newest generations, newest first; only those with this text in their prompt, if it is given
        (upper and lower case are one for ASCII letters, at least)."""

    async def open_tasks(self, since: float) -> list[Generation]:
        """Everybody's tasks without a known end that were submitted after ``since`` (Unix time), oldest first."""

    async def latencies(self, model: str, api: str | None) -> list[float]:
        """Seconds from submit to success of this model's latest generations by this API."""

    async def lease(self, generation_id: str) -> bool:
        """Whether this process is the one that asks the API about an open task now. It stays so until
        :meth:`release`, the task's end, or this process's."""

    async def release(self, generation_id: str) -> None:
        """Let another process ask about it."""

    async def acquire_sweep_lock(self) -> bool:
        """Whether this process may query the tasks without a waiter."""

    async def follow(self, changed: Changed) -> None:
        """Tell, for as long as this runs, what other processes change. Returns at once where that cannot be."""

    async def probe(self) -> str | None:
        """Look whether what is kept now would survive this process. Returns :attr:`problem`."""

    async def tidy(self) -> None:
        """Forget what the settings no longer want to be kept."""

    async def aclose(self) -> None:
        """Let go of what is open."""


class OwnLedger:
    """What a ledger that is not shared has to say about other processes."""

    shared = False
    stores_images = True

    async def encoded(self, generation_id: str, number: int) -> EncodedImage | None:
        """See :class:`Ledger`."""
        raise NotImplementedError

    async def save_image(self, generation_id: str, number: int, image: EncodedImage) -> None:
        """See :class:`Ledger`."""
        raise NotImplementedError

    async def load_image(self, generation_id: str, number: int) -> EncodedImage | None:
        """See :class:`Ledger`."""
        return await self.encoded(generation_id, number)

    async def lease(self, generation_id: str) -> bool:
        """See :class:`Ledger`."""
        return True

    async def release(self, generation_id: str) -> None:
        """See :class:`Ledger`."""

    async def acquire_sweep_lock(self) -> bool:
        """See :class:`Ledger`."""
        return True

    async def follow(self, changed: Changed) -> None:
        """See :class:`Ledger`."""


class MemoryLedger(OwnLedger):
    """A ledger that lives as long as the process. Bounded: finished generations go first, oldest first.

    Args:
        keeps_open: Whether those without a known end never go.
    """

    def __init__(self, *, keeps_open: bool = True) -> None:
        self.problem: str | None = None
        self._keeps_open = keeps_open
        self._generations: OrderedDict[str, Generation] = OrderedDict()
        self._by_task: dict[str, str] = {}
        self._by_request: dict[tuple[str, str | None, str], str] = {}
        self._by_url: dict[tuple[str, str], str] = {}
        self._images: OrderedDict[tuple[str, int], EncodedImage] = OrderedDict()
        self._image_bytes = 0

    async def begin(self, intent: Generation, check: Check | None = None) -> Generation:
        """See :class:`Ledger`."""
        earlier = self._by_request.get((intent.request_id or "", intent.api, intent.principal))
        if earlier is not None:
            return self._generations[earlier]
        if check is not None:
            others = [known for known in self._generations.values() if known.generation_id != intent.generation_id]
            check(
                lambda principal: usage_of(
                    (known for known in others if principal in (None, known.principal)), intent.created_at
                )
            )
        await self.save(intent)
        return intent

    async def save(self, generation: Generation, encoded_images: dict[int, EncodedImage] | None = None) -> None:
        """See :class:`Ledger`."""
        known = self._generations.get(generation.generation_id)
        if known is not None and (known.finished or (known.task_id and not generation.task_id)):
            return
        self._generations[generation.generation_id] = generation
        if generation.task_id is not None:
            self._by_task[generation.task_id] = generation.generation_id
        if generation.request_id is not None:
            self._by_request[generation.request_id, generation.api, generation.principal] = generation.generation_id
        for image in generation.images:
            if image.url is not None:
                self._by_url[image.url, generation.principal] = generation.generation_id
        for number, encoded in (encoded_images or {}).items():
            self._forget_image((generation.generation_id, number))
            self._images[generation.generation_id, number] = encoded
            self._image_bytes += len(encoded.data)
        self._prune()

    async def forget(self, generation_id: str) -> None:
        """See :class:`Ledger`."""
        known = self._generations.get(generation_id)
        if known is not None and known.task_id is None:
            self._drop(generation_id)

    async def find(self, public_id: str) -> Generation | None:
        """See :class:`Ledger`."""
        return self._generations.get(self._by_task.get(public_id, public_id))

    async def find_request(self, request_id: str, api: str | None, principal: str = "") -> Generation | None:
        """See :class:`Ledger`."""
        return self._generations.get(self._by_request.get((request_id, api, principal), ""))

    async def find_image(self, url: str, principal: str = "") -> Generation | None:
        """See :class:`Ledger`."""
        return self._generations.get(self._by_url.get((url, principal), ""))

    async def encoded(self, generation_id: str, number: int) -> EncodedImage | None:
        """See :class:`Ledger`."""
        return self._images.get((generation_id, number))

    async def recent(self, limit: int, principal: str = "", search: str | None = None) -> list[Generation]:
        """See :class:`Ledger`."""
        newest_first = (known for known in reversed(self._generations.values()) if known.principal == principal)
        return list(itertools.islice((known for known in newest_first if mentions(known, search)), limit))

    async def open_tasks(self, since: float) -> list[Generation]:
        """See :class:`Ledger`."""
        return [known for known in self._generations.values() if is_open(known, since)]

    async def latencies(self, model: str, api: str | None) -> list[float]:
        """See :class:`Ledger`."""
        alike = [known for known in reversed(self._generations.values()) if (known.model, known.api) == (model, api)]
        own = [latency(known) for known in alike]
        return [seconds for seconds in own if seconds is not None][:MAX_LATENCIES]

    async def probe(self) -> str | None:
        """See :class:`Ledger`."""
        return self.problem

    async def tidy(self) -> None:
        """See :class:`Ledger`."""

    async def aclose(self) -> None:
        """See :class:`Ledger`."""

    def everything(self) -> list[Generation]:
        """All generations, oldest first."""
        return list(self._generations.values())

    def forget_finished(self, generation_ids: Iterable[str]) -> None:
        """Drop those of these that have ended."""
        for generation_id in generation_ids:
            known = self._generations.get(generation_id)
            if known is not None and known.finished:
                self._drop(generation_id)

    def _prune(self) -> None:
        while self._image_bytes > MAX_IMAGE_BYTES and len(self._images) > 1:
            self._forget_image(next(iter(self._images)))
        surplus = len(self._generations) - MAX_GENERATIONS
        if surplus > 0:
            kept = self._generations.values()
            may_go = [known.generation_id for known in kept if known.finished or not self._keeps_open]
            for generation_id in may_go[:surplus]:
                self._drop(generation_id)

    def _drop(self, generation_id: str) -> None:
        known = self._generations.pop(generation_id)
        self._by_task.pop(known.task_id or "", None)
        self._by_request.pop((known.request_id or "", known.api, known.principal), None)
        for number, image in enumerate(known.images):
            self._forget_image((generation_id, number))
            self._by_url.pop((image.url or "", known.principal), None)

    def _forget_image(self, place: tuple[str, int]) -> None:
        encoded = self._images.pop(place, None)
        if encoded is not None:
            self._image_bytes -= len(encoded.data)


def latency(generation: Generation) -> float | None:
    """Seconds from submit to success, or None where the end was not seen near the moment it came.

    The end lies between the last look that found the task open and the one that found it finished: the middle
    of the two is taken, if they are no further apart than half of the whole time.
    """
    submitted, opened, finished = generation.submitted_at, generation.open_at, generation.finished_at
    if generation.status is not Status.SUCCESS or submitted is None or opened is None or finished is None:
        return None
    between = finished - opened
    seconds = finished - submitted - between / 2
    return seconds if 0 <= between <= max(2.0, seconds / 2) and seconds > 0 else None


def is_open(known: Generation, since: float) -> bool:
    """Whether it is a task without a known end that was submitted after ``since``."""
    return not known.finished and known.task_id is not None and (known.submitted_at or 0.0) > since


def mentions(known: Generation, search: str | None) -> bool:
    """Whether its prompt has this text in it; any has None."""
    return search is None or search.lower() in (known.prompt or "").lower()


def met_elsewhere(known: Generation, met: Generation) -> Generation:
    """``known``, brought up to date by what somebody learned who only met its task."""
    return replace(
        known,
        status=met.status,
        images=met.images,
        credits_consumed=met.credits_consumed,
        message=met.message,
        open_at=met.open_at,
        finished_at=met.finished_at,
    )


def without_look(generation: Generation) -> Generation:
    """``generation`` without the time of the last look, which alone is not worth a write."""
    return replace(generation, open_at=None)
