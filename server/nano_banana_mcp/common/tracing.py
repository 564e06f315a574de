"""OpenTelemetry spans around requests to others. Nothing of a span goes along with the request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span, get_tracer

from nano_banana_mcp import __version__

_tracer = get_tracer("nano-banana-mcp", __version__)


@contextmanager
def request_span(name: str, method: str, host: str | None, **attributes: str | None) -> Iterator[None]:
    """A span around one request to ``host``. Of an error it keeps the class: words may hold what was sent.

    Args:
        attributes: More of them, with ``__`` for the dot.
    """
    known = {name.replace("__", "."): value for name, value in attributes.items() if value is not None}
    with _tracer.start_as_current_span(
        name,
        kind=SpanKind.CLIENT,
        attributes={"http.request.method": method, "server.address": host or "", **known},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise


def name_task(task_id: str) -> None:
    """The request of the current span led to this task."""
    get_current_span().set_attribute("nano_banana.task_id", task_id)


def answered(status: int) -> None:
    """The request of the current span was answered."""
    get_current_span().set_attribute("http.response.status_code", status)
