"""`/metrics` of a real process after real images, and the counters themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import httpx
import pytest
from mcp.client import Client
from prometheus_client.parser import text_string_to_metric_families

from nano_banana_mcp import __version__
from nano_banana_mcp.defapi.errors import Busy, OutcomeUnknown, TaskNotFound
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.http.app import create_app
from nano_banana_mcp.http.metrics import MAX_MODELS, MAX_TASKS, TASK_SECONDS, Metrics
from nano_banana_mcp.ledger.base import LedgerBusy
from nano_banana_mcp.settings import load_settings
from tests.support.clients import WITHOUT_QUERIES, facts
from tests.support.http_server import Served, at, reachable, served
from tests.support.sandbox import plain_config, plain_sandbox

MODEL = "google/gempix2"


class Counts:
    """The samples of one read, by name and labels."""

    def __init__(self, text: str) -> None:
        self._samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self._samples.get((f"nano_banana_{name}", tuple(sorted(labels.items()))), 0.0)

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self._samples}

    def labels_of(self, name: str) -> list[dict[str, str]]:
        return [dict(labels) for sample, labels in self._samples if sample == f"nano_banana_{name}"]


async def read(server: Served) -> Counts:
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{server.root}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return Counts(answer.text)


async def test_the_version_is_a_metric() -> None:
    async with served("--sandbox") as server:
        counts = await read(server)
    assert counts("build_info", version=__version__) == 1


async def test_images_that_were_polled_for_are_counted() -> None:
    images = 3
    async with plain_sandbox(seconds=1.0) as sandbox:
        async with served(**at(sandbox.url)) as server:
            async with Client(server.url) as client:
                for number in range(images):
                    made = await client.call_tool("generate_image", {"prompt": f"cat {number}"})
                    await client.call_tool("wait_for_image", {"task_id": facts(made)["task_id"]})
                await client.call_tool("generate_image", {"prompt": "x sandbox:seconds=3600"})
            counts = await read(server)
        queries = sandbox.stats.queries
    assert counts("submits_total", model=MODEL, outcome="accepted") == images + 1
    assert counts("submit_seconds_count") == images + 1
    assert counts("tasks_ended_total", model=MODEL, status="success") == images
    assert counts("task_seconds_count") == images
    assert images * 1.0 <= counts("task_seconds_sum") < images * 60  # seconds
    assert counts("detection_lag_seconds_count", how="poll") == images
    assert counts("queries_total", outcome="answered") == queries
    assert counts("queries_per_task_sum") == queries
    assert counts("queries_per_task_count") == images
    assert counts("sandbox_credits_total", model=MODEL) == images * 0.5
    assert counts("credits_total", model=MODEL) == 0
    assert counts("open_tasks") == 1
    assert counts("waits") == 0
    assert counts("ledger_ok") == 1
    assert counts("tool_calls_total", tool="generate_image", outcome="ok") == images + 1
    assert counts("tool_seconds_count", tool="wait_for_image") == images
    assert {"process_resident_memory_bytes", "python_info", "python_gc_collections_total"} <= counts.names


async def test_callbacks_are_counted_by_outcome_and_measure_the_lag() -> None:
    images = 3
    async with reachable(plain_config(seconds=1.0), WITHOUT_QUERIES) as (sandbox, server, client):
        primer = facts(await client.call_tool("generate_image", {"prompt": "x sandbox:seconds=0.2"}))
        with anyio.fail_after(60):
            await sandbox.until(lambda stats: stats.callbacks_sent == 1)
        await client.call_tool("wait_for_image", {"task_id": primer["task_id"]})
        for number in range(images):
            made = await client.call_tool("generate_image", {"prompt": f"cat {number}"})
            await client.call_tool("wait_for_image", {"task_id": facts(made)["task_id"]})
        with anyio.fail_after(60):
            await sandbox.until(lambda stats: stats.callbacks_sent == 1 + images)
        address = sandbox.tasks[-1].order.callback_url
        assert address is not None
        async with httpx.AsyncClient() as http:
            for url, task_id in [(address + "0", sandbox.tasks[-1].id), (address, "ta-of-another"), (address, "../x")]:
                assert (await http.post(url, json={"task_id": task_id})).status_code == 404
            assert (await http.post(address, json={"task_id": sandbox.tasks[-1].id})).status_code == 204
        counts = await read(server)
    assert counts("callbacks_total", verdict="accepted") == 1 + images
    assert counts("callbacks_total", verdict="late") == 1
    assert counts("callbacks_total", verdict="refused") == 3
    assert counts("detection_lag_seconds_count", how="callback") == 1 + images
    assert counts("detection_lag_seconds_sum", how="callback") < 60 * (1 + images)  # seconds
    assert counts("queries_per_task_count") == 1 + images
    assert counts("sandbox_credits_total", model=MODEL) == (1 + images) * 0.5


async def test_a_callback_soon_after_another_is_a_repeated_one() -> None:
    async with reachable(plain_config(seconds=3600)) as (sandbox, server, client):
        await client.call_tool("generate_image", {"prompt": "a cat"})
        [task] = sandbox.tasks
        assert task.order.callback_url is not None
        async with httpx.AsyncClient() as http:
            for _ in range(2):
                await http.post(task.order.callback_url, json={"task_id": task.id})
        counts = await read(server)
    assert counts("callbacks_total", verdict="accepted") == 1
    assert counts("callbacks_total", verdict="repeated") == 1
    assert counts.labels_of("detection_lag_seconds_count") == []


async def test_submits_are_counted_by_how_they_went() -> None:
    async with plain_sandbox(seconds=0) as sandbox:
        async with served(**at(sandbox.url)) as server:
            async with Client(server.url) as client:

                async def submit(prompt: str, **more: Any) -> None:
                    await client.call_tool("generate_image", {"prompt": prompt, **more})

                await submit("a cat", request_id="one")
                await submit("a cat", request_id="one")
                await submit("x sandbox:submit=402")
                await submit("x sandbox:submit=503*1")
                await submit("x sandbox:submit=reset-after")
                await submit("x", model="no/such-model")
                await client.call_tool("generate_image", {"prompt": "x", "sise": "1k"})
                await client.call_tool("draw me a canary", {})
            counts = await read(server)
        async with served(**at("http://127.0.0.1:9")) as server:
            async with Client(server.url) as client:
                await client.call_tool("generate_image", {"prompt": "a cat"})
            unreachable = await read(server)
    assert counts("submits_total", model=MODEL, outcome="accepted") == 2
    assert counts("submits_total", model=MODEL, outcome="repeated") == 1
    assert counts("submits_total", model=MODEL, outcome="refused") == 1
    assert counts("submits_total", model=MODEL, outcome="unknown") == 1
    assert counts("tool_calls_total", tool="generate_image", outcome="error") == 3
    assert [labels["tool"] for labels in counts.labels_of("tool_calls_total")].count("other") == 1
    assert unreachable("submits_total", model=MODEL, outcome="not_sent") == 1


async def test_a_failed_generation_and_a_failed_query_are_counted() -> None:
    async with plain_sandbox(seconds=0) as sandbox, served(**at(sandbox.url)) as server:
        async with Client(server.url) as client:
            made = await client.call_tool("generate_image", {"prompt": "x sandbox:result=failed sandbox:query=500*1"})
            for _ in range(2):
                await client.call_tool("get_task", {"task_id": facts(made)["task_id"]})
            await client.call_tool("get_task", {"task_id": "ta-of-another"})
        counts = await read(server)
    assert counts("tasks_ended_total", model=MODEL, status="failed") == 1
    assert counts("queries_total", outcome="busy") == 1
    assert counts("queries_total", outcome="answered") == 1
    assert counts("queries_total", outcome="task_not_found") == 1
    assert counts("detection_lag_seconds_count", how="look") == 1
    assert counts("open_tasks") == 0


async def test_calls_that_wait_are_counted_while_they_wait() -> None:
    async with (
        plain_sandbox(seconds=3600) as sandbox,
        served(**at(sandbox.url)) as server,
        Client(server.url) as client,
    ):
        made = await client.call_tool("generate_image", {"prompt": "a cat"})
        arguments = {"task_id": facts(made)["task_id"], "timeout_seconds": 60}
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(client.call_tool, "wait_for_image", arguments)
            with anyio.fail_after(60):
                await sandbox.until(lambda stats: stats.queries >= 1)
                while (await read(server))("waits") != 3:
                    pass
            group.cancel_scope.cancel()
        with anyio.fail_after(60):
            while (await read(server))("waits") != 0:
                pass


async def test_two_applications_in_one_process_count_apart() -> None:
    one, other = (create_app(load_settings(sandbox=True)) for _ in range(2))
    for app in (one, other):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            counts = Counts((await http.get("/metrics")).text)
        assert "nano_banana_ledger_ok" in counts.names
        assert counts("ledger_ok") == 0  # it does not serve yet


def made(number: int = 0, **fields: Any) -> Generation:
    values = {"task_id": f"ta{number}", "model": MODEL, "submitted_at": 100.0, "open_at": 100.0, **fields}
    return Generation(f"in-{number}", **values)


def ended(generation: Generation, **fields: Any) -> Generation:
    return replace(generation, status=Status.SUCCESS, finished_at=130.0, credits_consumed="0.500000", **fields)


def counted(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"nano_banana_{name}", labels) or 0.0


@pytest.fixture
def metrics() -> Metrics:
    return Metrics([MODEL], ["get_task"], lambda: None)


def test_a_model_has_a_label_once_the_api_accepts_it_up_to_a_maximum_number(metrics: Metrics) -> None:
    for number in range(2 * MAX_MODELS):
        generation = made(number, model=f"of-a-caller-{number}")
        with pytest.raises(Busy), metrics.submitting(generation):
            raise Busy("", status=503)
        assert counted(metrics, "submits_total", model=f"of-a-caller-{number}", outcome="refused") == 0
        with metrics.submitting(generation):
            pass
    models = {
        sample.labels["model"]
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "nano_banana_submits_total"
    }
    assert len(models) == MAX_MODELS  # "other" is in the place of the server's own, which was not asked for
    assert counted(metrics, "submits_total", model="other", outcome="refused") == 2 * MAX_MODELS


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(OutcomeUnknown(""), "unknown"), (LedgerBusy(""), "not_sent"), (Busy("", status=503), "refused")],
    ids=str,
)
def test_every_way_of_a_submit_to_fail_has_a_word(metrics: Metrics, error: Exception, outcome: str) -> None:
    with pytest.raises(type(error)), metrics.submitting(made()):
        raise error
    assert counted(metrics, "submits_total", model=MODEL, outcome=outcome) == 1


def test_an_end_that_two_queries_have_seen_counts_once(metrics: Metrics) -> None:
    for _ in range(2):
        with metrics.querying(made()):
            pass
    metrics.seen(ended(made()), "poll")
    metrics.seen(ended(made()), "look")
    assert counted(metrics, "tasks_ended_total", model=MODEL, status="success") == 1
    assert counted(metrics, "credits_total", model=MODEL) == 0.5
    metrics.seen(replace(ended(made(1)), is_sandbox=True), "poll")
    assert counted(metrics, "credits_total", model=MODEL) == 0.5
    assert counted(metrics, "sandbox_credits_total", model=MODEL) == 0.5


def test_the_lag_of_a_poll_is_the_time_since_the_task_was_last_seen_open(metrics: Metrics) -> None:
    metrics.seen(made(open_at=126.0), "poll")
    metrics.seen(ended(made(open_at=126.0)), "poll")
    assert counted(metrics, "detection_lag_seconds_sum", how="poll") == 4.0


def test_a_callback_that_came_too_early_does_not_explain_the_end(metrics: Metrics) -> None:
    metrics.called_back(made(), "accepted")
    metrics.seen(made(open_at=126.0), "look")
    metrics.seen(ended(made(open_at=126.0)), "poll")
    assert counted(metrics, "detection_lag_seconds_count", how="callback") == 0
    assert counted(metrics, "detection_lag_seconds_count", how="poll") == 1


def test_a_query_for_a_missing_task_leaves_no_entry_behind(metrics: Metrics) -> None:
    for number in range(10):
        with pytest.raises(TaskNotFound), metrics.querying(made(number)):
            raise TaskNotFound("", status=404)
    assert counted(metrics, "open_tasks") == 0
    assert not metrics._tasks


def test_a_task_without_queries_counts_as_open_for_an_hour() -> None:
    moment = 0.0
    metrics = Metrics([MODEL], [], lambda: None, lambda: moment)
    with metrics.submitting(made(1)):
        pass
    moment = TASK_SECONDS - 1
    metrics.seen(made(2), "look")
    assert counted(metrics, "open_tasks") == 2
    moment = TASK_SECONDS + 1
    metrics.seen(made(3), "look")
    assert counted(metrics, "open_tasks") == 2


def test_the_number_of_followed_tasks_has_a_maximum(metrics: Metrics) -> None:
    for number in range(MAX_TASKS + 10):
        metrics.seen(made(number), "poll")
    assert counted(metrics, "open_tasks") == MAX_TASKS


@pytest.mark.parametrize("amount", [None, "", "NaN", "Infinity", "-1", "much"])
def test_credits_that_are_no_amount_count_as_none(metrics: Metrics, amount: str | None) -> None:
    metrics.seen(replace(ended(made()), credits_consumed=amount), "poll")
    assert counted(metrics, "credits_total", model=MODEL) == 0.0
