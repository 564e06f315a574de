"""OpenTelemetry spans around outgoing requests. No trace header is sent with the request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span, get_tracer

from nano_banana_mcp import __version__

_tracer = get_tracer("nano-banana-mcp", __version__)


@contextmanager
def request_span(name: str, method: str, host: str | None, **attributes: str | None) -> Iterator[None]:
    """Open a span around one request to ``host``.

    The span records the class of an error but not its message, which may contain what was sent.

    Args:
        name: The name of the span.
        method: The HTTP method.
        host: The host name of the server.
        attributes: Further attributes, with ``__`` for the dot; those that are None are left out.
    """
    given = {key.replace("__", "."): value for key, value in attributes.items() if value is not None}
    with _tracer.start_as_current_span(
        name,
        kind=SpanKind.CLIENT,
        attributes={"http.request.method": method, "server.address": host or "", **given},
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
    """Add the id of the task that the request created to the current span."""
    get_current_span().set_attribute("nano_banana.task_id", task_id)


def answered(status: int) -> None:
    """Add the HTTP status of the response to the current span."""
    get_current_span().set_attribute("http.response.status_code", status)
