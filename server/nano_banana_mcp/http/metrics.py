"""Prometheus metrics. Each application has a registry of its own."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from starlette.requests import Request
from starlette.responses import Response

from nano_banana_mcp import __version__
from nano_banana_mcp.defapi.errors import DefapiError, NotSent, OutcomeUnknown, Refused
from nano_banana_mcp.generations.instrumentation import Instrumentation, Verdict, Why
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.ledger.base import LedgerError

PATH = "/metrics"

MAX_MODELS = 50
"""Maximum of models with a label of their own. A model gets one once the API has accepted it."""

MAX_TASKS = 10_000
TASK_SECONDS = 3600.0
"""Age at which a task is dropped: no image takes this long, so it was abandoned or ended in another process."""

OTHER = "other"

_CALLS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_IMAGES = (1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)
_LAGS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60)
_QUERIES = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100)


@dataclass(slots=True)
class _Task:
    """A task until its end and for a while after it, so that no end is counted twice."""

    since: float
    queries: int = 0
    called_back_at: float | None = None
    open: bool = False
    ended: bool = False


class Metrics(Instrumentation):
    """Counts the events of the generation service.

    Args:
        models: Models with a label from the start.
        tools: The names of the tools; any other name counts as ``other``.
        ledger_problem: Returns what is wrong with the ledger; None if nothing is.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        models: Iterable[str],
        tools: Iterable[str],
        ledger_problem: Callable[[], str | None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        self._models = set(models)
        self._tools = frozenset(tools)
        self._tasks: dict[str, _Task] = {}
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"nano_banana_{name}", help_text, labels, registry=registry)

        def histogram(name: str, help_text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"nano_banana_{name}", help_text, labels, registry=registry, buckets=buckets)

        def gauge(name: str, help_text: str) -> Gauge:
            return Gauge(f"nano_banana_{name}", help_text, registry=registry)

        self._submits = counter("submits", "Submits by outcome.", "model", "outcome")
        self._submit_seconds = histogram(
            "submit_seconds", "Seconds from submit to answer, all attempts included.", _CALLS
        )
        self._ended = counter("tasks_ended", "Tasks whose end was observed.", "model", "status")
        self._task_seconds = histogram("task_seconds", "Seconds from submit to the observed end.", _IMAGES)
        self._lag = histogram(
            "detection_lag_seconds",
            "Seconds from the end to its observation: since the callback, or at most since last open.",
            _LAGS,
            "how",
        )
        self._queries = counter("queries", "Queries of the API by outcome.", "outcome")
        self._query_seconds = histogram("query_seconds", "Seconds from query to answer.", _CALLS)
        self._queries_per_task = histogram("queries_per_task", "Answered queries of a task until its end.", _QUERIES)
        self._callbacks = counter("callbacks", "Callbacks received by verdict.", "verdict")
        self._credits = counter("credits", "Credits consumed by ended tasks, as reported by the API.", "model")
        self._sandbox_credits = counter("sandbox_credits", "The same of a sandbox, where nothing is paid.", "model")
        self._waits = gauge("waits", "Calls that are waiting.")
        self._open = gauge("open_tasks", "Tasks of the last hour that this process has not seen end.")
        self._tool_calls = counter("tool_calls", "Tool calls by outcome.", "tool", "outcome")
        self._tool_seconds = histogram(
            "tool_seconds", "Seconds from call to answer, waits included.", _CALLS + _IMAGES[9:], "tool"
        )
        ledger_ok = gauge("ledger_ok", "1 if the ledger can be written, else 0.")
        ledger_ok.set_function(lambda: float(ledger_problem() is None))
        Info("nano_banana_build", "The version of this server.", registry=registry).info({"version": __version__})

    async def endpoint(self, request: Request) -> Response:
        """Answer Prometheus."""
        self._drop_old()
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self.registry), headers={"content-type": content_type})

    @contextmanager
    def submitting(self, generation: Generation) -> Iterator[None]:
        started_at = self._clock()
        outcome = "cancelled"
        try:
            yield
            outcome = "accepted"
            if generation.model:
                self._add_label(generation.model)
            self._follow(generation, still_open=True)
        except (DefapiError, LedgerError) as error:
            outcome = _submit_outcome(error)
            raise
        except Exception:
            outcome = ""  # nothing was sent: a limit was reached, or a call with the same request_id came first
            raise
        finally:
            if outcome:
                self._submits.labels(self._label(generation.model), outcome).inc()
                self._submit_seconds.observe(self._clock() - started_at)

    def repeated(self, generation: Generation) -> None:
        self._submits.labels(self._label(generation.model), "repeated").inc()

    @contextmanager
    def querying(self, generation: Generation) -> Iterator[None]:
        started_at = self._clock()
        outcome = "cancelled"
        try:
            yield
            outcome = "answered"
            self._follow(generation).queries += 1
        except DefapiError as error:
            outcome = _snake(type(error).__name__)
            raise
        finally:
            self._queries.labels(outcome).inc()
            self._query_seconds.observe(self._clock() - started_at)

    def seen(self, generation: Generation, why: Why) -> None:
        task = self._follow(generation, still_open=not generation.finished)
        if not generation.finished:
            task.called_back_at = None  # a callback before the end does not explain a later end
            return
        if task.ended:
            return
        task.ended = True
        model = self._label(generation.model)
        self._ended.labels(model, generation.status.value).inc()
        counter = self._sandbox_credits if generation.is_sandbox else self._credits
        counter.labels(model).inc(_credits(generation.credits_consumed))
        self._queries_per_task.observe(task.queries)
        if generation.submitted_at is not None and generation.finished_at is not None:
            self._task_seconds.observe(max(0.0, generation.finished_at - generation.submitted_at))
        if task.called_back_at is not None:
            self._lag.labels("callback").observe(self._clock() - task.called_back_at)
        elif generation.open_at is not None and generation.finished_at is not None:
            self._lag.labels(why).observe(max(0.0, generation.finished_at - generation.open_at))

    def called_back(self, generation: Generation | None, verdict: Verdict) -> None:
        self._callbacks.labels(verdict).inc()
        if generation is not None and verdict == "accepted":
            self._follow(generation).called_back_at = self._clock()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        with self._waits.track_inprogress():
            yield

    def called(self, tool: str, outcome: str, seconds: float) -> None:
        name = tool if tool in self._tools else OTHER
        self._tool_calls.labels(name, outcome).inc()
        self._tool_seconds.labels(name).observe(seconds)

    def _follow(self, generation: Generation, *, still_open: bool | None = None) -> _Task:
        task = self._tasks.get(generation.generation_id)
        if task is None:
            task = self._tasks[generation.generation_id] = _Task(self._clock())
            self._drop_old()
        if still_open is not None:
            self._set_open(task, still_open and not task.ended)
        return task

    def _drop_old(self) -> None:
        cutoff = self._clock() - TASK_SECONDS
        while self._tasks:
            generation_id, task = next(iter(self._tasks.items()))
            if len(self._tasks) <= MAX_TASKS and task.since >= cutoff:
                return
            del self._tasks[generation_id]
            self._set_open(task, False)

    def _set_open(self, task: _Task, still_open: bool) -> None:
        if task.open is not still_open:
            task.open = still_open
            self._open.inc(1 if still_open else -1)

    def _add_label(self, model: str) -> None:
        if len(self._models) < MAX_MODELS:
            self._models.add(model)

    def _label(self, model: str | None) -> str:
        """The label of a model; ``other`` for a task of another program."""
        return model if model in self._models else OTHER


def _submit_outcome(error: DefapiError | LedgerError) -> str:
    if isinstance(error, OutcomeUnknown):
        return "unknown"
    if isinstance(error, Refused):
        return "refused"
    assert isinstance(error, NotSent | LedgerError), "every failure of a submit has an outcome"
    return "not_sent"


def _credits(consumed: str | None) -> float:
    try:
        amount = Decimal(consumed or "0")
    except InvalidOperation:
        return 0.0
    return float(amount) if amount.is_finite() and amount > 0 else 0.0


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
