"""Queries the API about a task, records the answer and publishes the change; also after a callback."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import anyio
from anyio.abc import TaskGroup

from nano_banana_mcp.common.files import reason_of
from nano_banana_mcp.common.gather import gather
from nano_banana_mcp.common.supervise import supervise
from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import DefapiError, NoAnswer, TaskNotFound
from nano_banana_mcp.defapi.schemas import TaskSnapshot, read_snapshot
from nano_banana_mcp.generations.batches import Batch, GenerationOrBatch, as_batch, is_batch_id, members
from nano_banana_mcp.generations.change_bus import ChangeBus
from nano_banana_mcp.generations.instrumentation import Instrumentation, Why
from nano_banana_mcp.generations.models import Generation, Status, new_generation_id
from nano_banana_mcp.generations.parsing import KEPT_ANSWER, Reading, read
from nano_banana_mcp.generations.quotas import Callers
from nano_banana_mcp.ledger.base import Ledger, LedgerError
from nano_banana_mcp.media.image_store import ImageStore
from nano_banana_mcp.tracking.callbacks import CallbackTracker

logger = logging.getLogger(__name__)

NOT_FOUND_GRACE_SECONDS = 60.0
"""A new task is often "not found" for some seconds (seen in three public clients of the API)."""

NO_SUCH_TASK = "You have no such task on this server."
CHECK_THE_ID = "Check the task_id: it is the one that generate_image returned."

MAX_REMEMBERED_QUERIES = 10_000


class Callback(NamedTuple):
    """A callback with a verified signature.

    Attributes:
        at: When it is acted on, Unix seconds.
    """

    task_id: str
    at: float


class TaskRefresher:
    """The only part of the server that queries the API about tasks.

    Args:
        tasks: Runs the queries that follow a callback.
        now: Wall-clock time, Unix seconds.
    """

    def __init__(
        self,
        client: DefapiClient,
        ledger: Ledger,
        images: ImageStore,
        callers: Callers,
        callbacks: CallbackTracker,
        bus: ChangeBus,
        instrumentation: Instrumentation,
        tasks: TaskGroup,
        now: Callable[[], float],
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._images = images
        self._callers = callers
        self._callbacks = callbacks
        self._bus = bus
        self._instrumentation = instrumentation
        self._tasks = tasks
        self._now = now
        self._queried_at: dict[str, float] = {}

    async def find(self, public_id: str, principal: str) -> GenerationOrBatch:
        """Return a caller's task or batch as recorded; a task that another program submitted is taken over.

        Raises:
            TaskNotFound: there is no such task, or it belongs to another caller.
        """
        item = await self.find_recorded(public_id, principal)
        if item is not None:
            return item
        # The API does not know the owner of a task, since all callers use the same key, and it knows no batches.
        if self._callers.authenticated or is_batch_id(public_id):
            raise TaskNotFound(NO_SUCH_TASK, hint=CHECK_THE_ID)
        return Generation(new_generation_id(), task_id=public_id, principal=principal, created_at=self._now())

    async def find_recorded(self, public_id: str, principal: str) -> GenerationOrBatch | None:
        """Return a caller's task or batch as recorded; None if this caller has no such task."""
        if is_batch_id(public_id):
            generations = await self._ledger.find_batch(public_id, principal)
            return as_batch(generation.with_message() for generation in generations) if generations else None
        generation = await self._ledger.find(public_id, principal)
        return generation.with_message() if generation is not None and generation.principal == principal else None

    async def get(self, public_id: str, principal: str) -> GenerationOrBatch:
        """Return a caller's task in its present state: one query for each task that may be open.

        Raises:
            TaskNotFound: there is no such task, or it belongs to another caller.
            DefapiError: the API could not be queried. A batch is returned as recorded if it has images, or if another
                of its tasks could be queried.
        """
        item = await self.find(public_id, principal)
        looks = await gather([partial(self._look, generation) for generation in members(item)])
        errors = [error for _, error in looks if error is not None]
        has_news = any(error is None and (generation.images or not generation.finished) for generation, error in looks)
        if errors and not has_news:
            raise errors[0]
        generations = [generation for generation, _ in looks]
        return as_batch(generations) if isinstance(item, Batch) else generations[0]

    async def _look(self, generation: Generation) -> tuple[Generation, DefapiError | None]:
        if generation.finished:
            return await self._read_again(generation), None
        try:
            return await self.refresh(generation, "look"), None
        except DefapiError as error:
            return generation, error

    async def refresh(
        self, generation: Generation, why: Why = "poll", *, callback: Callback | None = None
    ) -> Generation:
        """Query the API once, record the answer, and publish the generation if it has changed.

        Args:
            callback: What led to this query. A generation without a task id gets this one, if the API knows it.

        Returns:
            The generation in its present state. Without a task id there is nothing to query: what the ledger has.

        Raises:
            DefapiError: the query failed, its answer is about another task, or the API does not know the task.
            LedgerError: the bytes of a finished image could not be stored; the end is not recorded yet.
        """
        task_id = generation.task_id or (callback and callback.task_id)
        if task_id is None:  # a callback, or another process, may have settled it
            self._remember_query(generation.generation_id)
            return (await self._ledger.find(generation.generation_id) or generation).with_message()
        try:
            snapshot = await self._query(generation, task_id)
        except TaskNotFound:
            elapsed = generation.elapsed_seconds(self._now())
            if elapsed is not None and elapsed < NOT_FOUND_GRACE_SECONDS:
                return generation
            raise
        if generation.task_id is None and callback is not None:
            generation = await self._take_over(generation, callback)
        elif callback is not None:
            generation = replace(generation, open_at=callback.at)
        return await self._record(generation, snapshot, why)

    def seconds_since_query(self, generation: Generation) -> float | None:
        """Seconds since the last query about an unfinished task; None if there was none."""
        queried_at = self._queried_at.get(generation.task_id or generation.generation_id)
        return None if queried_at is None else anyio.current_time() - queried_at

    async def called_back(self, generation_id: str, task_id: str) -> bool:
        """Handle a callback with a verified signature: query the task soon.

        It also settles an unknown outcome and a failed submit, if the API knows the task.

        Returns:
            Whether the generation exists and can have led to this task.
        """
        generation = await self._ledger.find(generation_id)
        if generation is None or generation.task_id not in (None, task_id):
            return False
        pause = self._callbacks.received(generation)
        if generation.is_settled:
            self._instrumentation.called_back(generation, "late")
            return True
        self._instrumentation.called_back(generation, "accepted" if pause == 0 else "repeated")
        if pause is not None:
            query = partial(self._refresh_after_callback, generation_id, task_id, pause)
            self._tasks.start_soon(supervise, "Querying a task after its callback", query)
        return True

    async def reload(self, generation_id: str) -> None:
        """Publish a generation that another process has changed in the ledger."""
        generation = await self._ledger.find(generation_id)
        if generation is not None:
            self._callbacks.reported_elsewhere(generation)
            self._bus.publish(generation)

    async def _refresh_after_callback(self, generation_id: str, task_id: str, pause: float) -> None:
        await anyio.sleep(pause)
        callback = Callback(task_id, self._now())
        generation = await self._ledger.find(generation_id)
        if generation is not None and not generation.is_settled:
            await self.refresh(generation, callback=callback)

    async def _take_over(self, generation: Generation, callback: Callback) -> Generation:
        generation = await self._ledger.save(generation.accepted(callback.task_id, callback.at))
        self._bus.publish(generation)
        logger.info("a callback names the task %s", generation.task_id, extra={"task_id": generation.task_id})
        return generation

    async def _query(self, generation: Generation, task_id: str) -> TaskSnapshot:
        try:
            with self._instrumentation.querying(generation):
                snapshot = await self._client.query(task_id, key=self._callers.key_of(generation.principal))
                if snapshot.task_id not in (None, task_id):
                    await self._refuse_other_task(generation, snapshot.task_id)
                return snapshot
        finally:
            self._remember_query(task_id)

    async def _refuse_other_task(self, generation: Generation, answered_id: str) -> None:
        """Refuse the state of another recorded task. A different id alone proves nothing: ids have two forms.

        Raises:
            NoAnswer: The answer is about another generation.
        """
        other = await self._ledger.find(answered_id)
        is_submitted = other is not None and other.submitted_at is not None  # else it may be this one's other id
        if other is not None and is_submitted and other.generation_id != generation.generation_id:
            raise NoAnswer(
                "The answer to the query was about another task, so it was not used. A proxy or gateway on the way to "
                "the image API may cache answers.",
                hint=f"{NoAnswer.hint} If it persists, check DEFAPI_BASE_URL and the proxy.",
            )

    def _remember_query(self, task_or_generation_id: str) -> None:
        self._queried_at.pop(task_or_generation_id, None)
        self._queried_at[task_or_generation_id] = anyio.current_time()
        if len(self._queried_at) > MAX_REMEMBERED_QUERIES:
            del self._queried_at[next(iter(self._queried_at))]

    async def _record(self, generation: Generation, snapshot: TaskSnapshot, why: Why) -> Generation:
        if generation.status is Status.UNKNOWN:  # not recorded yet: a database stores bytes only beside their row
            generation = await self._ledger.save(replace(generation, status=Status.PENDING))
        reading = read(generation, snapshot, self._now(), api_url=self._client.base_url)
        updated = reading.generation
        if updated.status is generation.status:
            self._instrumentation.seen(updated, why)
            return updated
        await self._store(reading, snapshot)
        recorded = await self._ledger.save(updated)
        if recorded.generation_id == updated.generation_id and recorded != updated:  # another query was faster
            return recorded
        self._instrumentation.seen(updated, why)
        if updated.finished:
            self._queried_at.pop(updated.task_id or "", None)
            logger.info(
                "task %s ended: %s, %s credits",
                updated.task_id,
                updated.status,
                updated.credits_consumed,
                extra={"task_id": updated.task_id},
            )
        self._bus.publish(updated)
        return updated

    async def _store(self, reading: Reading, snapshot: TaskSnapshot) -> None:
        """Store what came with an answer and exists nowhere else."""
        generation_id = reading.generation.generation_id
        try:
            for number, image in reading.encoded_images.items():
                await self._images.put(generation_id, number, image)
            if reading.is_unreadable:
                await self._images.keep_answer(generation_id, json.dumps(snapshot.answer).encode())
        except OSError as error:
            raise LedgerError(
                f"The image is finished, but it could not be stored: {reason_of(error)}. "
                "It stays at the API. Free some disk space, then call get_task.",
            ) from error

    async def _read_again(self, generation: Generation) -> Generation:
        """Read the kept answer of a finished generation again: this version may understand more of it."""
        if KEPT_ANSWER not in (generation.message or ""):
            return generation
        answer = await self._images.kept_answer(generation.generation_id)
        snapshot = None if answer is None else read_snapshot(json.loads(answer))
        if snapshot is None:
            return generation
        reading = read(generation, snapshot, self._now(), api_url=self._client.base_url)
        updated = replace(reading.generation, credits_consumed=generation.credits_consumed)
        if len(updated.images) <= len(generation.images):
            return generation
        await self._store(reading, snapshot)
        await self._ledger.amend(updated)
        self._bus.publish(updated)
        return updated
