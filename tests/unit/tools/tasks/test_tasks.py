"""Generations as MCP tasks, for clients that declare the extension and for those that do not."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp.types import HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_REQUIRED_CLIENT_CAPABILITY

from nano_banana_mcp.ledger.async_ledger import DurableLedger
from nano_banana_mcp.ledger.errors import LedgerBusy
from nano_banana_mcp.tracking.schedule import Schedule
from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.server import serve_sandbox
from nano_banana_tools.tasks.extension import TASKS
from tests.support.clients import NEVER_SECONDS, client_at, facts
from tests.support.http_server import at, served
from tests.support.task_clients import TasksDeclared, ask, call, ended, task_client, task_client_at
from tests.support.team import client_with
from tests.support.two_callers import shared

NEVER = SandboxConfig(seconds=3600, art="plain")
AT_ONCE = SandboxConfig(seconds=0, art="plain")
OPEN_TASKS = 40
METHODS = ("tasks/get", "tasks/update", "tasks/cancel")
UNKNOWN_ID = "ta00000000-0000-4000-8000-000000000000"


async def refused(client: Client, method: str, task_id: str, **options: Any) -> tuple[int, str, Any]:
    with pytest.raises(MCPError) as caught:
        await ask(client, method, task_id, **options)
    return caught.value.error.code, caught.value.error.message, caught.value.error.data


async def test_an_unfinished_image_is_answered_as_a_task_at_once_whatever_the_wait() -> None:
    async with serve_sandbox(NEVER) as sandbox, task_client_at(sandbox.url) as client:
        with anyio.fail_after(60):
            task = await call(client, "generate_image", prompt="a cat", wait_seconds=240)
            waited = await call(client, "wait_for_image", task_id=task["taskId"], timeout_seconds=240)
        assert task["resultType"] == waited["resultType"] == "task"
        assert task["taskId"] == waited["taskId"] == sandbox.tasks[0].id
        assert (task["status"], task["ttlMs"]) == ("working", None)
        assert datetime.now(UTC) >= datetime.fromisoformat(task["lastUpdatedAt"])
        assert datetime.fromisoformat(task["lastUpdatedAt"]) >= datetime.fromisoformat(task["createdAt"])
        assert {"content", "structuredContent", "requestState"}.isdisjoint(task)
        assert sandbox.stats.submits == 1


async def test_a_finished_image_an_error_and_a_refusal_stay_ordinary_results() -> None:
    async with serve_sandbox(AT_ONCE) as sandbox, task_client_at(sandbox.url) as client:
        made = await call(client, "generate_image", prompt="a cat", request_id="one")
        await ended(client, made["taskId"])
        again = await call(client, "generate_image", prompt="a cat", request_id="one")
        waited = await call(client, "wait_for_image", task_id=made["taskId"])
        looked = await call(client, "get_task", task_id=made["taskId"])
        assert [item["structuredContent"]["status"] for item in (again, waited, looked)] == ["success"] * 3
        for arguments in ({"prompt": ""}, {"prompt": "x", "wait_seconds": "soon"}, {"prompt": "x sandbox:submit=400"}):
            result = await call(client, "generate_image", **arguments)
            assert (result["resultType"], result["isError"]) == ("complete", True)
        missing = await call(client, "wait_for_image", task_id=UNKNOWN_ID)
        assert missing["isError"]


async def test_a_completed_task_has_the_result_that_the_call_would_have_had() -> None:
    async with (
        serve_sandbox(AT_ONCE) as sandbox,
        task_client_at(sandbox.url) as client,
        client_at(sandbox.url) as other,
    ):
        task = await ended(client, (await call(client, "generate_image", prompt="a cat"))["taskId"])
        plain = await other.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
    assert (task["resultType"], task["status"]) == ("complete", "completed")
    expected = plain.model_dump(mode="json", by_alias=True, exclude_none=True)
    for name in ("content", "structuredContent", "isError"):
        assert shape(task["result"][name]) == shape(expected[name])


def shape(value: Any) -> str:
    """A result without what differs between two images: ids and times."""
    text = re.sub(r"(ta)?[0-9a-f]{6,8}-[0-9a-f-]{27}", "ID", str(value))
    return re.sub(r"[\d.]+ s\b|'elapsed_seconds': [\d.]+", "TIME", text)


@pytest.mark.parametrize("result", ["failed", "text"])
async def test_an_image_that_fails_is_completed_with_an_error_result(result: str) -> None:
    async with serve_sandbox(AT_ONCE) as sandbox, task_client_at(sandbox.url) as client:
        task = await ended(
            client, (await call(client, "generate_image", prompt=f"a sandbox:result={result}"))["taskId"]
        )
    assert (task["status"], task["result"]["isError"]) == ("completed", True)
    assert task["result"]["structuredContent"]["status"] == "failed"


async def test_an_unknown_outcome_is_an_error_at_once_and_as_a_task() -> None:
    async with serve_sandbox(NEVER) as sandbox, task_client_at(sandbox.url) as client:
        made = await call(client, "generate_image", prompt="a cat sandbox:submit=reset-after")
        assert (made["resultType"], made["isError"]) == ("complete", True)
        generation_id = made["structuredContent"]["task_id"]
        waited = await call(client, "wait_for_image", task_id=generation_id)
        assert waited["structuredContent"]["status"] == "unknown"
        task = await ask(client, "tasks/get", generation_id)
    assert (task["taskId"], task["status"], task["result"]["isError"]) == (generation_id, "completed", True)
    assert "may have been charged" in task["result"]["content"][0]["text"]


async def test_the_status_message_has_the_state_the_time_and_what_the_model_usually_takes() -> None:
    async with serve_sandbox(AT_ONCE) as sandbox, task_client_at(sandbox.url) as client:
        first = await call(client, "generate_image", prompt="a cat", model="google/x")
        assert "usually" not in first["statusMessage"]
        assert (await ended(client, first["taskId"]))["statusMessage"] == "Success, 0 s."
        task = await call(client, "generate_image", prompt="a cat sandbox:seconds=3600", model="google/x")
    assert task["statusMessage"].startswith("Pending, 0 s; google/x usually takes 0 s. ")


async def test_a_cancel_is_acknowledged_and_the_image_is_kept_as_the_status_says() -> None:
    async with serve_sandbox(SandboxConfig(seconds=0.5, art="plain")) as sandbox, task_client_at(sandbox.url) as client:
        task_id = (await call(client, "generate_image", prompt="a cat"))["taskId"]
        assert (await ask(client, "tasks/cancel", task_id)).keys() - {"_meta"} == {"resultType"}
        task = await ask(client, "tasks/get", task_id)
        assert "Cancelling does not stop it" in task["statusMessage"]
        assert (await ended(client, task_id))["result"]["structuredContent"]["status"] == "success"
        assert (await ask(client, "tasks/cancel", task_id))["resultType"] == "complete"


async def test_an_update_is_acknowledged_and_changes_nothing() -> None:
    async with serve_sandbox(NEVER) as sandbox, task_client_at(sandbox.url) as client:
        task_id = (await call(client, "generate_image", prompt="a cat"))["taskId"]
        acknowledged = await ask(client, "tasks/update", task_id, inputResponses={"x": {"action": "accept"}})
        assert acknowledged["resultType"] == "complete"
        assert "status" not in acknowledged


async def test_the_time_to_live_follows_the_days_that_generations_are_kept() -> None:
    async with serve_sandbox(NEVER) as sandbox, task_client_at(sandbox.url, keep_days=1.5) as client:
        assert (await call(client, "generate_image", prompt="a cat"))["ttlMs"] == 129_600_000


async def test_the_poll_interval_is_that_of_the_schedule() -> None:
    async with serve_sandbox(NEVER) as sandbox, task_client_at(sandbox.url, schedule=Schedule(first=7.0)) as client:
        interval = (await call(client, "generate_image", prompt="a cat"))["pollIntervalMs"]
    assert 6_000 < interval <= 7_000


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task_id", [UNKNOWN_ID, "", "x" * 5_000, "a b", "é", "../ta1"])
async def test_an_id_without_a_task_is_an_invalid_parameter(method: str, task_id: str) -> None:
    async with serve_sandbox(NEVER) as sandbox, task_client_at(sandbox.url) as client:
        code, message, _ = await refused(client, method, task_id)
        assert (code, message) == (INVALID_PARAMS, "You have no such task on this server. Check the taskId.")
        assert sandbox.stats.queries == 0


async def test_a_client_that_does_not_declare_the_extension_gets_results_and_no_tasks() -> None:
    async with serve_sandbox(AT_ONCE) as sandbox, client_at(sandbox.url) as client:
        assert client.server_capabilities.extensions is not None
        assert TASKS in client.server_capabilities.extensions
        made = await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
        assert facts(made)["status"] == "success"
        for method in METHODS:
            code, _, data = await refused(client, method, facts(made)["task_id"])
            assert code == MISSING_REQUIRED_CLIENT_CAPABILITY == -32021
            assert data == {"requiredCapabilities": {"extensions": {TASKS: {}}}}


async def test_the_older_era_has_no_tasks() -> None:
    async with serve_sandbox(AT_ONCE) as sandbox, client_at(sandbox.url, mode="legacy") as client:
        made = facts(await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240}))
        assert (await refused(client, "tasks/get", made["task_id"]))[0] == METHOD_NOT_FOUND


async def test_without_a_durable_ledger_a_declaring_client_is_answered_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    folder = tmp_path / "state"
    async with serve_sandbox(AT_ONCE) as sandbox, task_client_at(sandbox.url, local=True, state_dir=folder) as client:
        made = await call(client, "generate_image", prompt="a cat")
        assert made["resultType"] == "complete"
        assert "memory only" in made["structuredContent"]["message"]
        waited = await call(client, "wait_for_image", task_id=made["structuredContent"]["task_id"])
        assert waited["structuredContent"]["status"] == "success"


async def test_a_ledger_that_fails_after_the_submit_leaves_the_ordinary_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def medians(*_: object) -> None:
        raise LedgerBusy("busy")

    monkeypatch.setattr(DurableLedger, "medians", medians)
    async with serve_sandbox(NEVER) as sandbox, task_client_at(sandbox.url) as client:
        made = await call(client, "generate_image", prompt="a cat")
        assert (made["resultType"], made["isError"]) == ("complete", False)
        assert made["structuredContent"]["task_id"] == sandbox.tasks[0].id


async def test_without_resource_links_a_task_has_none_either() -> None:
    async with serve_sandbox(AT_ONCE) as sandbox, task_client_at(sandbox.url, resource_links="off") as client:
        made = await call(client, "generate_image", prompt="a cat")
        assert "content" not in made
        content = (await ended(client, made["taskId"]))["result"]["content"]
    assert {block["type"] for block in content} == {"text"}


async def test_a_key_that_is_refused_for_good_ends_the_task_and_says_that_the_image_is_not_lost() -> None:
    async with serve_sandbox(NEVER) as sandbox, task_client_at(sandbox.url) as client:
        made = await call(client, "generate_image", prompt="a cat sandbox:query=401")
        with anyio.fail_after(60):
            task = await ended(client, made["taskId"])
        assert (task["status"], task["result"]["isError"]) == ("completed", True)
        assert "not lost" in task["result"]["content"][0]["text"]


async def test_a_query_that_fails_for_now_is_reported_and_the_task_goes_on() -> None:
    config = SandboxConfig(seconds=0, art="plain")
    async with serve_sandbox(config) as sandbox, task_client_at(sandbox.url) as client:
        made = await call(client, "generate_image", prompt="a cat sandbox:query=503*1")
        task = await ask(client, "tasks/get", made["taskId"])
        assert task["status"] == "working"
        assert "The last query failed" in task["statusMessage"]
        assert (await ended(client, made["taskId"]))["result"]["structuredContent"]["status"] == "success"


async def test_another_principals_task_is_answered_as_a_missing_one(tmp_path: Path) -> None:
    async with shared(tmp_path, NEVER) as server:
        tokens = server.tokens
        async with client_with(server.url, token=tokens["alice"], extensions=[TasksDeclared()]) as alice:
            task_id = (await call(alice, "generate_image", prompt="a cat"))["taskId"]
            for method in METHODS:
                assert (await ask(alice, method, task_id))["resultType"] == "complete"
        async with client_with(server.url, token=tokens["bob"], extensions=[TasksDeclared()]) as bob:
            for method in METHODS:
                assert await refused(bob, method, task_id) == await refused(bob, method, UNKNOWN_ID)


async def test_over_http_a_request_may_name_no_other_task_in_the_header() -> None:
    async with (
        serve_sandbox(NEVER) as sandbox,
        served(**at(sandbox.url)) as server,
        task_client(server.url) as client,
    ):
        task_id = (await call(client, "generate_image", prompt="a cat"))["taskId"]
        for method in METHODS:
            assert (await refused(client, method, task_id, header=UNKNOWN_ID))[0] == HEADER_MISMATCH
            for header in (task_id, None):  # fastmcp-tasks 4.1.4 sends none
                assert (await ask(client, method, task_id, header=header))["resultType"] == "complete"


async def test_the_null_of_a_task_without_an_end_is_sent_over_http_too() -> None:
    async with (
        serve_sandbox(NEVER) as sandbox,
        served(**at(sandbox.url)) as server,
        task_client(server.url) as client,
    ):
        made = await call(client, "generate_image", prompt="a cat")
        assert made["ttlMs"] is None
        assert "ttlMs" in made
        assert (await ask(client, "tasks/get", made["taskId"]))["ttlMs"] is None


@pytest.mark.slow
async def test_many_open_tasks_polled_at_once_are_all_answered_and_queried_once_each() -> None:
    schedule = Schedule(first=0.0, min_interval=NEVER_SECONDS, max_interval=NEVER_SECONDS)
    async with serve_sandbox(NEVER) as sandbox, task_client_at(sandbox.url, schedule=schedule) as client:
        ids: list[str] = []
        states: list[str] = []

        async def make() -> None:
            ids.append((await call(client, "generate_image", prompt="a cat"))["taskId"])

        async def poll(task_id: str) -> None:
            states.append((await ask(client, "tasks/get", task_id))["status"])

        async with anyio.create_task_group() as group:
            for _ in range(OPEN_TASKS):
                group.start_soon(make)
        for _ in range(2):
            async with anyio.create_task_group() as group:
                for task_id in ids:
                    group.start_soon(poll, task_id)
        assert states == ["working"] * OPEN_TASKS * 2
        await sandbox.until(lambda stats: stats.queries == OPEN_TASKS)
        assert dict(sandbox.stats.queries_by_task) == dict.fromkeys(ids, 1)
