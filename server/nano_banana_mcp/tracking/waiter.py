"""Waits for the end of tasks. All calls that wait for one task share one polling loop, which ends with the last."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from nano_banana_mcp.defapi.errors import Busy, DefapiError, KeyRefused, NoAnswer, Refused, TaskNotFound, Unreachable
from nano_banana_mcp.generations.batches import GenerationOrBatch
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.tracking.callbacks import CallbackTracker
from nano_banana_mcp.tracking.refresh import TaskRefresher
from nano_banana_mcp.tracking.schedule import Schedule

if TYPE_CHECKING:
    from nano_banana_mcp.ledger.base import ModelMedians
    from nano_banana_mcp.media.export import ExportResult

REPORT_INTERVAL_SECONDS = 3.0
"""Longest pause between two progress reports."""

TEMPORARY_ERRORS = (Busy, NoAnswer, Unreachable)
"""Failures of a query that the next one may not meet: a wait goes on until its own deadline."""

MAX_REFUSALS = 3
"""Consecutive refused queries after which a wait gives up; a single refusal may come from a gateway."""

POLL_TOLERANCE_SECONDS = 0.5
"""A client that polls this much too early is answered as if it had come in time: it may count from its request."""

MAX_POLL_SECONDS = 2.0
"""How long a client that polls waits for a query, which then goes on without it."""

MAX_POLLED_TASKS = 10_000
"""Polled tasks with remembered failures of their queries."""

MIN_PAUSE_SECONDS = 0.001
"""Shorter pauses are not slept: clocks differ by more."""

Report = Callable[[GenerationOrBatch, float], Awaitable[None]]
"""Receives the generation and the seconds waited so far, at each change of state and every few seconds."""


@dataclass(frozen=True, slots=True)
class WaitResult:
    """How a wait ended.

    Attributes:
        generation: The last known state.
        last_error: The error of the last query, if the task is unfinished.
        note: Why the ledger is not durable, or why the end could not be recorded, for the caller.
        given_up: Whether the wait ended early because of ``last_error``.
        export: What became of the export of the images.
        usual: What an image of its model usually costs and takes, while it is unfinished.
        sizes: Width and height of each image in pixels, where a format or size was asked for and its bytes are here.
    """

    generation: GenerationOrBatch
    last_error: DefapiError | None = None
    note: str | None = None
    given_up: bool = False
    export: ExportResult | None = None
    usual: ModelMedians | None = None
    sizes: tuple[tuple[int, int] | None, ...] = ()


class TaskWaiter:
    """Waits for tasks; it subscribes to the change bus.

    Args:
        tasks: Runs the polling loops.
        now: Wall-clock time, Unix seconds.
    """

    def __init__(
        self,
        refresher: TaskRefresher,
        callbacks: CallbackTracker,
        tasks: TaskGroup,
        now: Callable[[], float],
        schedule: Schedule | None = None,
    ) -> None:
        self._refresher = refresher
        self._callbacks = callbacks
        self._tasks = tasks
        self._now = now
        self._schedule = schedule or Schedule()
        self._loops: dict[str, _PollLoop] = {}
        self._polled: dict[str, _PollLoop] = {}
        self._draining = anyio.Event()

    async def wait(self, generation: Generation, seconds: float, report: Report | None = None) -> WaitResult:
        """Wait at most ``seconds`` for the end of the task. A timeout is not an error.

        Raises:
            DefapiError: the task cannot be queried at all (a refused key, an unknown task).
        """
        if generation.finished:
            return WaitResult(generation)
        loop = self._join(generation)
        try:
            with anyio.move_on_after(seconds):
                await self._follow(loop, report)
        finally:
            self._leave(loop)
        if loop.error is not None:
            raise loop.error
        return WaitResult(loop.generation, None if loop.generation.finished else loop.last_error)

    async def poll(self, generation: Generation) -> WaitResult:
        """Return the present state of a task, for clients that poll. The API is queried if that is due.

        A task that cannot be queried any more is returned with the error, given up; a later poll may mend that.

        Args:
            generation: As recorded.

        Raises:
            LedgerError: the task has ended, and its end could not be recorded.
        """
        key = _key(generation)
        polled = self._polled.pop(key, None)
        if generation.finished or generation.task_id is None:
            return WaitResult(generation)
        if (waiting := self._loops.get(key)) is not None:
            return WaitResult(generation, waiting.last_error)
        polled = self._polled[key] = polled or self._new_loop(generation)
        if len(self._polled) > MAX_POLLED_TASKS:
            del self._polled[next(iter(self._polled))]
        if not polled.generation.finished:  # its end may be newer than what the caller has read
            polled.update(generation)
            await polled.query_if_due(self._tasks)
        if polled.error is not None and not isinstance(polled.error, DefapiError):
            raise polled.error
        return WaitResult(polled.generation, polled.last_error, given_up=polled.error is not None)

    def poll_interval(self, generation: Generation) -> float:
        """Seconds after which a client that polls should do so again."""
        return self._schedule.poll_interval(generation.elapsed_seconds(self._now()) or 0.0)

    def has_waiter(self, generation: Generation) -> bool:
        """Whether a call waits for this task."""
        return _key(generation) in self._loops

    def waited_ids(self) -> list[str]:
        """The generation ids of all tasks that calls wait for."""
        return [loop.generation.generation_id for loop in self._loops.values()]

    def on_change(self, generation: Generation) -> None:
        """Subscriber of the change bus: wakes the calls that wait for this task."""
        loop = self._loops.get(_key(generation))
        if loop is not None:
            loop.update(generation)

    def drain(self) -> None:
        """End every wait, and each one to come, with the present state: the server is about to end."""
        self._draining.set()
        for loop in self._loops.values():
            loop.wake()

    async def _follow(self, loop: _PollLoop, report: Report | None) -> None:
        began = anyio.current_time()
        while not loop.is_over and not self._draining.is_set():
            changed = loop.changed
            if report is not None:
                await report(loop.generation, anyio.current_time() - began)
            with anyio.move_on_after(REPORT_INTERVAL_SECONDS):
                await changed.wait()

    def _join(self, generation: Generation) -> _PollLoop:
        loop = self._loops.get(_key(generation))
        if loop is None:
            loop = self._loops[_key(generation)] = self._new_loop(generation)
            self._tasks.start_soon(self._run, loop)
        loop.waiters += 1
        return loop

    def _new_loop(self, generation: Generation) -> _PollLoop:
        return _PollLoop(generation, self._refresher, self._callbacks, self._schedule, self._now)

    def _leave(self, loop: _PollLoop) -> None:
        loop.waiters -= 1
        if loop.waiters == 0:
            loop.scope.cancel()
            self._remove(loop)

    async def _run(self, loop: _PollLoop) -> None:
        await loop.run()
        self._remove(loop)  # a later call starts afresh: an error of now says nothing about then

    def _remove(self, loop: _PollLoop) -> None:
        if self._loops.get(_key(loop.generation)) is loop:
            del self._loops[_key(loop.generation)]


class _PollLoop:
    """The queries for one task while at least one call waits for it, or a client polls."""

    def __init__(
        self,
        generation: Generation,
        refresher: TaskRefresher,
        callbacks: CallbackTracker,
        schedule: Schedule,
        now: Callable[[], float],
    ) -> None:
        self.generation = generation
        self.waiters = 0
        self.last_error: DefapiError | None = None
        self.error: Exception | None = None
        self.changed = anyio.Event()
        self.scope = anyio.CancelScope()
        self._refresher = refresher
        self._callbacks = callbacks
        self._schedule = schedule
        self._now = now
        self._began = anyio.current_time()
        self._failures = 0
        self._query_ended: anyio.Event | None = None

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to wait for any more."""
        return self.error is not None or self.generation.finished

    def update(self, generation: Generation) -> None:
        """Take over a newer state, and wake all waiters if it differs."""
        is_different = generation.status is not self.generation.status
        self.generation = generation
        if is_different:
            self.wake()

    def wake(self) -> None:
        """Wake all waiters."""
        self.changed.set()
        self.changed = anyio.Event()

    async def run(self) -> None:
        """Query until the end, an error that no later query can mend, or cancellation."""
        with self.scope:
            try:
                while not self.is_over:
                    await self._sleep_until_due()
                    if not self.is_over:
                        await self._query()
            except Exception as error:  # noqa: BLE001 - the edge of this task: the waiters receive it
                self.error = error
                self.wake()

    async def query_if_due(self, tasks: TaskGroup) -> None:
        """Query once in ``tasks`` if that is due, and wait for a running query, but not long."""
        expects_callback = self._callbacks.is_expected(self.generation)
        if self._query_ended is None and self._pause(expects_callback, jitter=0.0) <= POLL_TOLERANCE_SECONDS:
            self._query_ended = anyio.Event()
            tasks.start_soon(self._query_once, self._query_ended)
        if self._query_ended is not None:
            with anyio.move_on_after(MAX_POLL_SECONDS):
                await self._query_ended.wait()

    async def _query_once(self, ended: anyio.Event) -> None:
        try:
            await self._query()
        except Exception as error:  # noqa: BLE001 - the edge of this task: the client that polls receives it
            self.error = error
        finally:
            self._query_ended = None
            ended.set()

    async def _sleep_until_due(self) -> None:
        jitter = random.uniform(-1, 1)  # noqa: S311 - spreads queries, protects nothing
        while not self.is_over:
            expects_callback = self._callbacks.is_expected(self.generation)
            pause = self._pause(expects_callback, jitter)
            if pause <= MIN_PAUSE_SECONDS:
                return
            with anyio.move_on_after(min(pause, self._schedule.review)):
                await self.changed.wait()

    def _pause(self, expects_callback: bool, jitter: float) -> float:
        since_query = self._refresher.seconds_since_query(self.generation)
        retry_after = self.last_error.retry_after if isinstance(self.last_error, Busy) else None
        backoff = self._schedule.backoff(self._failures, retry_after) - (since_query or 0.0)
        pause = self._schedule.pause(self._elapsed(), since_query, expects_callback=expects_callback, jitter=jitter)
        return max(pause, backoff)

    def _elapsed(self) -> float:
        waited = anyio.current_time() - self._began
        elapsed = self.generation.elapsed_seconds(self._now())
        if elapsed is None:  # submitted by another program: it may be ready, so it is queried at once
            return self._schedule.first + waited
        return max(elapsed, waited)  # the wall clock may have been put back

    async def _query(self) -> None:
        try:
            generation = await self._refresher.refresh(self.generation)
        except DefapiError as error:
            self.last_error = error
            self._failures += 1
            if not self._is_temporary(error):
                raise
        else:
            self.last_error = self.error = None
            self._failures = 0
            self.update(generation)

    def _is_temporary(self, error: DefapiError) -> bool:
        """Whether a later query may succeed. A task that this server submitted exists, even if a gateway denies it."""
        if isinstance(error, TEMPORARY_ERRORS):
            return True
        is_own = self.generation.submitted_at is not None
        if isinstance(error, KeyRefused | TaskNotFound) and error.status != HTTPStatus.FORBIDDEN:
            return is_own and self._failures < MAX_REFUSALS
        return is_own and isinstance(error, Refused)


def _key(generation: Generation) -> str:
    """What all waits for one task have in common: a task of another program has no lasting generation id."""
    if generation.submitted_at is None and generation.task_id is not None:
        return generation.task_id
    return generation.generation_id
