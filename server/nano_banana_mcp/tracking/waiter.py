"""The only waiting loop. One per task, however many calls wait for it; it ends with the last of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from nano_banana_mcp.defapi.errors import Busy, DefapiError, KeyRefused, NoAnswer, Refused, TaskNotFound, Unreachable
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.tracking import schedule
from nano_banana_mcp.tracking.purse import Purse

if TYPE_CHECKING:
    from nano_banana_mcp.media.export import Kept

REPORT_EVERY_SECONDS = 3.0

PASSING_TROUBLE = (Busy, NoAnswer, Unreachable)
"""Trouble that a later query may not meet: a wait lives through it until its own deadline."""

MAX_REFUSALS = 3
"""A refusal of a query for a task of ours may be a gateway's mood; so many in a row are not."""

LEAVING_AT_ONCE = 8
"""Waits that go on to answer in one round of the event loop."""

MAX_REMEMBERED_QUERIES = 10_000

MAX_OPENED = 100

MAX_NAP_SECONDS = 2.0
"""So often a wait thinks again about when to ask, by what was seen meanwhile."""

TURN_SECONDS = 0.05
"""So often the task whose turn it is looks whether it may go sooner, by what the one before has found."""

MIN_PAUSE_SECONDS = 0.001
"""Clocks differ by less; a pause of so little is none."""

Ask = Callable[[Generation], Awaitable[Generation]]
PaceOf = Callable[[Generation], Awaitable[schedule.Pace]]
Report = Callable[[Generation, float], Awaitable[None]]
"""Told the state and the seconds waited so far, at each change of state and every few seconds."""


@dataclass(frozen=True, slots=True)
class WaitResult:
    """How a wait ended: the last known state, the trouble that the last query met, and what else to know (``kept``:
    what became of the saving of its pictures)."""

    generation: Generation
    trouble: DefapiError | None = None
    note: str | None = None
    given_up: bool = False
    kept: Kept | None = None


@dataclass
class _PollLoop:
    key: str
    latest: Generation
    began: float
    waiters: int = 0
    failures: int = 0
    trouble: DefapiError | None = None
    error: Exception | None = None
    pace: schedule.Pace | None = None
    changed: anyio.Event = field(default_factory=anyio.Event)
    nudged: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    @property
    def over(self) -> bool:
        return self.error is not None or self.latest.finished

    def publish(self, latest: Generation) -> None:
        different = latest.status is not self.latest.status
        self.latest = latest
        if different or latest.finished:
            self.wake()

    def fail(self, error: Exception) -> None:
        self.error = error
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()

    def nudge(self) -> None:
        self.pace = None
        self.nudged.set()
        self.nudged = anyio.Event()


class TaskWaiter:
    """Waits for tasks. Made by :func:`waiting_room`, whose task group its loops live in."""

    def __init__(self, ask: Ask, pace_of: PaceOf, tasks: TaskGroup, now: Callable[[], float], purse: Purse) -> None:
        self._ask = ask
        self._pace_of = pace_of
        self._purse = purse
        self._turns = anyio.Lock()
        self._tasks = tasks
        self._now = now
        self._watches: dict[str, _PollLoop] = {}
        self._last_query: dict[str, float] = {}
        self._draining = anyio.Event()
        self._exit = anyio.Semaphore(LEAVING_AT_ONCE, fast_acquire=True)

    async def wait(self, known: Generation, seconds: float, report: Report | None = None) -> WaitResult:
        """Wait until the task ends, at most ``seconds``. A timeout is no error.

        Raises:
            DefapiError: the task cannot be asked for at all (a refused key, an unknown task).
        """
        if known.finished:
            return WaitResult(known)
        watch = self._join(known)
        try:
            with anyio.move_on_after(seconds):
                await self._follow(watch, report)
        finally:
            self._leave(watch)
        async with self._exit:  # of a crowd that is woken at once, some have answered before others begin to
            await anyio.lowlevel.checkpoint()
        if watch.error is not None:
            raise watch.error
        return WaitResult(watch.latest, None if watch.latest.finished else watch.trouble)

    def drain(self) -> None:
        """Let every wait, and every one to come, end with the state as it is."""
        self._draining.set()
        for watch in self._watches.values():
            watch.wake()

    def reconsider(self) -> None:
        """Let every wait think again about when to ask."""
        for watch in self._watches.values():
            watch.nudge()

    def opened(self, model: str | None) -> list[float]:
        """Seconds since the submit of some tasks of this model that are waited for."""
        alike = (watch.latest for watch in self._watches.values() if watch.latest.model == model and not watch.over)
        ages = (task.elapsed_seconds(self._now()) for task in alike)
        return list(islice((age for age in ages if age is not None), MAX_OPENED))

    def tell(self, latest: Generation) -> None:
        """Hand a state that was learned elsewhere to whoever waits for it."""
        self._queried(latest)
        for key in {latest.public_id, latest.generation_id}:  # whoever waited for an unknown outcome knows only our id
            watch = self._watches.get(key)
            if watch is not None:
                watch.publish(latest)
                watch.nudge()

    def watches(self, known: Generation) -> bool:
        """Whether somebody waits for it here."""
        return known.public_id in self._watches or known.generation_id in self._watches

    async def _follow(self, watch: _PollLoop, report: Report | None) -> None:
        began = anyio.current_time()
        while not watch.over and not self._draining.is_set():
            changed = watch.changed
            if report is not None:
                await report(watch.latest, anyio.current_time() - began)
            with anyio.move_on_after(REPORT_EVERY_SECONDS):
                await changed.wait()

    def _join(self, known: Generation) -> _PollLoop:
        watch = self._watches.get(known.public_id)
        if watch is None:
            watch = self._watches[known.public_id] = _PollLoop(known.public_id, known, anyio.current_time())
            self._tasks.start_soon(self._run, watch)
        watch.waiters += 1
        return watch

    def _leave(self, watch: _PollLoop) -> None:
        watch.waiters -= 1
        if watch.waiters == 0:
            watch.scope.cancel()
            self._drop(watch)

    async def _run(self, watch: _PollLoop) -> None:
        with watch.scope:
            try:
                while not watch.over:
                    if await self._due(watch):
                        await self._look(watch)
            except Exception as error:  # noqa: BLE001 - the edge of this task: the waiters get to see it
                watch.fail(error)
        # Whoever comes later starts afresh: an error of now says nothing about then.
        self._drop(watch)

    async def _due(self, watch: _PollLoop) -> bool:
        """Sleep until it is time to ask. Returns False where that has to be thought of again."""
        nudged = watch.nudged
        pace = watch.pace = watch.pace or await self._pace_of(watch.latest)
        pause = self._pause(watch, pace)
        if pause > MIN_PAUSE_SECONDS:
            if isinstance(pace, schedule.SafetyPace):  # what happens to others may change it
                pause, watch.pace = min(pause, MAX_NAP_SECONDS), None
            await _sleep(pause, nudged)
            return False
        if isinstance(pace, schedule.SafetyPace):
            watch.pace = None
            return await self._take_turn(watch, pace, nudged)
        return not nudged.is_set()

    async def _take_turn(self, watch: _PollLoop, pace: schedule.SafetyPace, nudged: anyio.Event) -> bool:
        async with self._turns:
            while not nudged.is_set():
                queue = 1 + self._turns.statistics().tasks_waiting
                pause = self._purse.due_in(pace, self._elapsed(watch, pace), queue)
                if pause <= MIN_PAUSE_SECONDS:
                    self._purse.spend(pace)
                    return True
                await _sleep(min(pause, TURN_SECONDS), nudged)
        return False

    async def _look(self, watch: _PollLoop) -> None:
        try:
            latest = await self._ask(watch.latest)
        except DefapiError as trouble:
            watch.trouble = trouble
            watch.failures += 1
            self._last_query[watch.key] = anyio.current_time()
            if not self._may_pass(watch, trouble):
                raise
        else:
            watch.trouble = None
            watch.failures = 0
            self._queried(latest)
            if not latest.finished:
                self._last_query[watch.key] = anyio.current_time()  # its handle may have changed with its task id
            watch.publish(latest)

    def _may_pass(self, watch: _PollLoop, trouble: DefapiError) -> bool:
        """Whether a later query may do better. A task of ours exists, whatever a gateway says of it now."""
        if isinstance(trouble, PASSING_TROUBLE):
            return True
        ours = watch.latest.submitted_at is not None
        if isinstance(trouble, KeyRefused | TaskNotFound) and trouble.status != HTTPStatus.FORBIDDEN:
            return ours and watch.failures < MAX_REFUSALS
        return ours and isinstance(trouble, Refused)

    def _pause(self, watch: _PollLoop, pace: schedule.Pace) -> float:
        last = self._last_query.get(watch.key)
        since = None if last is None else anyio.current_time() - last
        elapsed = self._elapsed(watch, pace)
        asked_for = watch.trouble.retry_after if isinstance(watch.trouble, Busy) else None
        least = schedule.backoff(watch.failures, asked_for)
        return max(pace.due_in(elapsed, since), least - (since or 0.0))

    def _elapsed(self, watch: _PollLoop, pace: schedule.Pace) -> float:
        waited = anyio.current_time() - watch.began
        elapsed = watch.latest.elapsed_seconds(self._now())
        if elapsed is None:  # a task made elsewhere: it may be ready, so ask at once, and then less and less often
            return pace.first() + waited
        return max(elapsed, waited)  # the wall clock may have been put back

    def _queried(self, latest: Generation) -> None:
        if len(self._last_query) > MAX_REMEMBERED_QUERIES:
            self._last_query.clear()
        if latest.finished:
            self._last_query.pop(latest.public_id, None)
        else:
            self._last_query[latest.public_id] = anyio.current_time()

    def _drop(self, watch: _PollLoop) -> None:
        if self._watches.get(watch.key) is watch:
            del self._watches[watch.key]


async def _sleep(seconds: float, nudged: anyio.Event) -> None:
    """Sleep until something has happened, at most so long."""
    with anyio.move_on_after(seconds):
        await nudged.wait()


@asynccontextmanager
async def waiting_room(
    ask: Ask, pace_of: PaceOf, now: Callable[[], float], purse: Purse | None = None
) -> AsyncIterator[TaskWaiter]:
    """A :class:`TaskWaiter` whose loops end with the block.

    Args:
        ask: Asks the API for a task's state, once.
        pace_of: Says when to ask for a task, by what is known of its like.
        now: Wall-clock time, Unix seconds.
        purse: What may be spent on tasks that a callback should tell of.
    """
    async with anyio.create_task_group() as tasks:
        yield TaskWaiter(ask, pace_of, tasks, now, purse or Purse())
        tasks.cancel_scope.cancel()
