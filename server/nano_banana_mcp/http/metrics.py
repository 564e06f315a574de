"""What is counted, for Prometheus. Each application has a registry of its own."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from starlette.requests import Request
from starlette.responses import Response

from nano_banana_mcp.defapi.errors import DefapiError, NotSent, OutcomeUnknown, Refused
from nano_banana_mcp.generations.instrumentation import Instrumentation, Verdict, Why
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.ledger.base import LedgerError

PATH = "/metrics"

MAX_MODELS = 50
"""A model is the caller's text: it gets a label of its own once the API has taken it, and so many do."""

MAX_FOLLOWED = 10_000
FOLLOWED_SECONDS = 3600.0
"""No picture takes so long: what has not ended by then is abandoned, or another process has seen its end."""

OTHER = "other"

_CALLS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_IMAGES = (1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)
_LAGS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60)
_QUERIES = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100)


@dataclass(slots=True)
class _Followed:
    """A task while its end is awaited, and for a while after, so that no end counts twice."""

    since: float
    queries: int = 0
    called_back_at: float | None = None
    open: bool = False
    ended: bool = False


class Metrics(Instrumentation):
    """Counts what the studio tells.

    Args:
        models: Models that are known from the start.
        tools: The names of the tools; what else is called counts as ``other``.
        ledger_problem: Says what is wrong with the ledger, if anything.
        clock: Seconds that only grow.
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
        self._followed: dict[str, _Followed] = {}
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"nano_banana_{name}", words, labels, registry=registry)

        def histogram(name: str, words: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"nano_banana_{name}", words, labels, registry=registry, buckets=buckets)

        def gauge(name: str, words: str) -> Gauge:
            return Gauge(f"nano_banana_{name}", words, registry=registry)

        self._submits = counter("submits", "Requests for a picture, by how they went.", "model", "outcome")
        self._submit_seconds = histogram("submit_seconds", "Submit to answer, all attempts included.", _CALLS)
        self._ended = counter("tasks_ended", "Tasks whose end was seen.", "model", "status")
        self._task_seconds = histogram("task_seconds", "Submit to the end as it was seen.", _IMAGES)
        self._lag = histogram(
            "detection_lag_seconds",
            "How late the end was seen: since its callback came, or at most (since last seen open).",
            _LAGS,
            "how",
        )
        self._queries = counter("queries", "Queries of the API for a task, by how they went.", "outcome")
        self._query_seconds = histogram("query_seconds", "Query to answer.", _CALLS)
        self._queries_per_task = histogram("queries_per_task", "Answered queries up to the end.", _QUERIES)
        self._callbacks = counter("callbacks", "CallbackTracker that came, by what became of them.", "verdict")
        self._credits = counter("credits", "Credits that the API says ended tasks consumed.", "model")
        self._waits = gauge("waits", "Calls that wait now.")
        self._open = gauge("open_tasks", "Tasks of the last hour whose end this process has not seen.")
        self._tool_calls = counter("tool_calls", "Calls of tools, by how they went.", "tool", "outcome")
        self._tool_seconds = histogram("tool_seconds", "Call to answer, waits included.", _CALLS + _IMAGES[9:], "tool")
        ledger_ok = gauge("ledger_ok", "1 while the ledger can be written, else 0.")
        ledger_ok.set_function(lambda: float(ledger_problem() is None))

    async def endpoint(self, request: Request) -> Response:
        """What Prometheus reads."""
        self._drop_old()
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self.registry), headers={"content-type": content_type})

    @contextmanager
    def submitting(self, intent: Generation) -> Iterator[None]:
        """See :class:`~nano_banana_mcp.generations.instrumentation.Instrumentation`."""
        began = self._clock()
        outcome = "cancelled"
        try:
            yield
            outcome = "accepted"
            if intent.model:
                self._learn(intent.model)
            self._follow(intent, still_open=True)
        except (DefapiError, LedgerError) as error:
            outcome = _submit_outcome(error)
            raise
        except Exception:
            outcome = ""  # another call with the same request_id was faster: it is counted as repeated
            raise
        finally:
            if outcome:
                self._submits.labels(self._label(intent.model), outcome).inc()
                self._submit_seconds.observe(self._clock() - began)

    def repeated(self, intent: Generation) -> None:
        """See :class:`~nano_banana_mcp.generations.instrumentation.Instrumentation`."""
        self._submits.labels(self._label(intent.model), "repeated").inc()

    @contextmanager
    def querying(self, known: Generation) -> Iterator[None]:
        """See :class:`~nano_banana_mcp.generations.instrumentation.Instrumentation`."""
        began = self._clock()
        outcome = "cancelled"
        try:
            yield
            outcome = "answered"
            self._follow(known).queries += 1
        except DefapiError as error:
            outcome = _snake(type(error).__name__)
            raise
        finally:
            self._queries.labels(outcome).inc()
            self._query_seconds.observe(self._clock() - began)

    def seen(self, latest: Generation, why: Why) -> None:
        """See :class:`~nano_banana_mcp.generations.instrumentation.Instrumentation`."""
        task = self._follow(latest, still_open=not latest.finished)
        if not latest.finished:
            task.called_back_at = None  # it came too early, and explains no end to come
            return
        if task.ended:
            return
        task.ended = True
        model = self._label(latest.model)
        self._ended.labels(model, latest.status.value).inc()
        self._credits.labels(model).inc(_credits(latest.credits_consumed))
        self._queries_per_task.observe(task.queries)
        if latest.submitted_at is not None and latest.finished_at is not None:
            self._task_seconds.observe(max(0.0, latest.finished_at - latest.submitted_at))
        if task.called_back_at is not None:
            self._lag.labels("callback").observe(self._clock() - task.called_back_at)
        elif latest.open_at is not None and latest.finished_at is not None:
            self._lag.labels(why).observe(max(0.0, latest.finished_at - latest.open_at))

    def called_back(self, known: Generation | None, verdict: Verdict) -> None:
        """See :class:`~nano_banana_mcp.generations.instrumentation.Instrumentation`."""
        self._callbacks.labels(verdict).inc()
        if known is not None and verdict == "accepted":
            self._follow(known).called_back_at = self._clock()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """See :class:`~nano_banana_mcp.generations.instrumentation.Instrumentation`."""
        with self._waits.track_inprogress():
            yield

    def called(self, tool: str, outcome: str, seconds: float) -> None:
        """See :class:`~nano_banana_mcp.generations.instrumentation.Instrumentation`."""
        name = tool if tool in self._tools else OTHER
        self._tool_calls.labels(name, outcome).inc()
        self._tool_seconds.labels(name).observe(seconds)

    def _follow(self, known: Generation, *, still_open: bool | None = None) -> _Followed:
        task = self._followed.get(known.generation_id)
        if task is None:
            task = self._followed[known.generation_id] = _Followed(self._clock())
            self._drop_old()
        if still_open is not None:
            self._set_open(task, still_open and not task.ended)
        return task

    def _drop_old(self) -> None:
        oldest = self._clock() - FOLLOWED_SECONDS
        while self._followed:
            generation_id, task = next(iter(self._followed.items()))
            if len(self._followed) <= MAX_FOLLOWED and task.since >= oldest:
                return
            del self._followed[generation_id]
            self._set_open(task, False)

    def _set_open(self, task: _Followed, still_open: bool) -> None:
        if task.open is not still_open:
            task.open = still_open
            self._open.inc(1 if still_open else -1)

    def _learn(self, model: str) -> None:
        if len(self._models) < MAX_MODELS:
            self._models.add(model)

    def _label(self, model: str | None) -> str:
        """A task made elsewhere has no model that is known here."""
        return model if model in self._models else OTHER


def _submit_outcome(error: DefapiError | LedgerError) -> str:
    if isinstance(error, OutcomeUnknown):
        return "unknown"
    if isinstance(error, Refused):
        return "refused"
    assert isinstance(error, NotSent | LedgerError), "every way of a submit to fail has a word"
    return "not_sent"


def _credits(consumed: str | None) -> float:
    try:
        amount = Decimal(consumed or "0")
    except InvalidOperation:
        return 0.0
    return float(amount) if amount.is_finite() and amount > 0 else 0.0


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
