"""Spans around outgoing requests: their parents and their attributes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.support.clients import KEY, client_at, facts
from tests.support.defapi_calls import credits_from
from tests.support.fault_server import fault_server
from tests.support.faults import reply
from tests.support.sandbox import plain_sandbox

WORD = "zebracanary"


class Spans(InMemorySpanExporter):
    """Collects ended spans while it is active."""

    is_active = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return super().export(spans) if self.is_active else SpanExportResult.SUCCESS

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.get_finished_spans() if span.name == name]

    def parent_of(self, span: ReadableSpan) -> ReadableSpan:
        assert span.parent is not None, f"{span.name} has no parent"
        wanted = span.parent.span_id
        [parent] = [other for other in self.get_finished_spans() if other.context and other.context.span_id == wanted]
        return parent


@pytest.fixture(scope="module")
def exporter() -> Iterator[Spans]:
    """The process has one provider for its lifetime; its exporter collects nothing after this module."""
    spans, provider = Spans(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    yield spans
    spans.is_active = False  # shutting the provider down would log a warning for each span of later tests
    spans.clear()


@pytest.fixture
def spans(exporter: Spans) -> Spans:
    exporter.clear()
    return exporter


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def server_span(spans: Spans, name: str) -> ReadableSpan:
    [span] = [span for span in spans.named(name) if span.kind is SpanKind.SERVER]
    return span


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_request_to_the_api_is_a_child_of_the_call_that_led_to_it(spans: Spans, mode: Any) -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url, mode=mode) as client:
        made = facts(await client.call_tool("generate_image", {"prompt": WORD}))
        done = facts(await client.call_tool("wait_for_image", {"task_id": made["task_id"]}))
        await client.read_resource(done["images"][0]["url"])
    [submit] = spans.named("defapi.submit")  # it runs in a background task
    assert spans.parent_of(submit) is server_span(spans, "tools/call generate_image")
    assert submit.kind is SpanKind.CLIENT
    assert attributes(submit) == {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "http.response.status_code": 200,
        "gen_ai.request.model": "google/gempix2",
        "nano_banana.task_id": made["task_id"],
    }
    [query] = spans.named("defapi.query")
    assert spans.parent_of(query) is server_span(spans, "tools/call wait_for_image")
    assert attributes(query)["nano_banana.task_id"] == made["task_id"]
    [fetch] = spans.named("picture.fetch")
    readers = [server_span(spans, name) for name in ("tools/call wait_for_image", "resources/read")]
    assert spans.parent_of(fetch) in readers  # the image store begins with the end, and the first of the two downloads
    assert attributes(fetch)["http.response.status_code"] == 200
    assert submit.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [("401", "KeyRefused", 401), ("500", "Busy", 500), ("reset-after", "OutcomeUnknown", None)],
)
async def test_the_span_of_a_failed_attempt_names_the_error_but_not_its_message(
    spans: Spans, fault: str, kind: str, status: int | None
) -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        await client.call_tool("generate_image", {"prompt": f"{WORD} sandbox:submit={fault}*1"})
    first = spans.named("defapi.submit")[0]
    assert first.status.status_code is StatusCode.ERROR
    assert attributes(first)["error.type"] == kind
    assert attributes(first).get("http.response.status_code") == status
    assert first.status.description is None
    assert not first.events
    exported = "".join(span.to_json() for span in spans.get_finished_spans())
    assert WORD not in exported
    assert KEY not in exported


async def test_each_attempt_has_its_own_span(spans: Spans) -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        await client.call_tool("generate_image", {"prompt": "x sandbox:submit=503*1"})
    assert [attributes(span)["http.response.status_code"] for span in spans.named("defapi.submit")] == [503, 200]


async def test_the_span_of_a_failed_fetch_names_the_error_but_not_the_url(spans: Spans) -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        prompt = "x sandbox:file=404"
        done = facts(await client.call_tool("generate_image", {"prompt": prompt, "wait_seconds": 240}))
        with pytest.raises(Exception, match="404"):
            await client.read_resource(done["images"][0]["resource_uri"])
    fetches = spans.named("picture.fetch")  # the image store may have tried by itself before
    assert fetches
    for fetch in fetches:
        assert attributes(fetch)["error.type"] == "ImageUnavailable"
        assert attributes(fetch)["http.response.status_code"] == 404
        assert sandbox.url not in fetch.to_json()


async def test_a_request_for_credits_has_a_span(spans: Spans) -> None:
    assert (await credits_from(reply(200, {"code": 0, "data": {"credit": "7"}}))).value == "7"
    [span] = spans.named("defapi.credits")
    assert attributes(span)["http.response.status_code"] == 200


async def test_no_trace_header_is_sent_to_the_api(spans: Spans) -> None:
    script = reply(200, {"code": 0, "data": {"task_id": "ta1"}})
    async with fault_server(script) as server, client_at(server.url) as client:
        await client.call_tool("generate_image", {"prompt": "x"})
    assert server.requests
    assert spans.named("defapi.submit")
    for request in server.requests:
        assert not {"traceparent", "tracestate", "baggage"} & {name.lower() for name in request.headers}
