"""``notifications/tasks`` over HTTP: a callback reaches a listening host at once, and only the owner."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import INTERNAL_ERROR

from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.server import serve_sandbox
from nano_banana_tools.subscriptions import listen
from nano_banana_tools.tasks.extension import Task
from nano_banana_tools.tasks.generation_tasks import GenerationTasks
from tests.support.clients import WITHOUT_QUERIES
from tests.support.http_server import at, reachable, served
from tests.support.task_clients import TasksDeclared, ask, call, listening, task_client
from tests.support.team import client_with
from tests.support.two_callers import shared


async def test_a_callback_reaches_a_listening_host_without_a_poll() -> None:
    async with reachable(SandboxConfig(seconds=2.0, art="plain"), WITHOUT_QUERIES) as (sandbox, server, _):
        async with task_client(server.url) as client:
            task_id = (await call(client, "generate_image", prompt="a cat"))["taskId"]
        states = []
        with anyio.fail_after(60):
            async with listening(server.url, [task_id]) as messages:
                acknowledged = await anext(messages)
                async for message in messages:
                    states.append(message["params"]["status"])
                    if states[-1] == "completed":
                        break
        assert acknowledged["params"]["notifications"] == {"taskIds": [task_id]}
        assert message["params"]["result"]["structuredContent"]["images"]
        assert states[0] == "working"
        assert sandbox.stats.queries_by_task[task_id] <= 2


async def test_an_end_is_notified_though_the_ledger_fails_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [MCPError(INTERNAL_ERROR, "The ledger cannot be used: locked.")]
    get = GenerationTasks.get

    async def get_or_fail(self: GenerationTasks, task_id: str) -> Task:
        task = await get(self, task_id)
        if task.status == "completed" and failures:
            raise failures.pop()
        return task

    monkeypatch.setattr(GenerationTasks, "get", get_or_fail)
    monkeypatch.setattr(listen, "RETRY_SECONDS", 0.0)
    async with reachable(SandboxConfig(seconds=0.5, art="plain"), WITHOUT_QUERIES) as (_, server, _):
        async with task_client(server.url) as client:
            task_id = (await call(client, "generate_image", prompt="a cat"))["taskId"]
        with anyio.fail_after(60):
            async with listening(server.url, [task_id]) as messages:
                async for message in messages:
                    if message["params"].get("status") == "completed":
                        break
    assert failures == []


async def test_the_end_of_a_batch_is_notified_once_and_not_for_each_of_its_images() -> None:
    async with (
        serve_sandbox(SandboxConfig(seconds=0.5, art="plain")) as sandbox,
        served(schedule=None, **at(sandbox.url)) as server,  # the ends are noticed together
        task_client(server.url) as client,
    ):
        batch_id = (await call(client, "generate_image", prompt="a cat", count=4))["taskId"]
        last_id = (await call(client, "generate_image", prompt="a dog sandbox:seconds=3"))["taskId"]
        completed: list[str] = []
        async with listening(server.url, [batch_id, last_id]) as messages:
            async for message in messages:
                if message["params"].get("status") == "completed":
                    completed.append(message["params"]["taskId"])
                if last_id in completed:
                    break
    assert completed == [batch_id, last_id]


async def test_a_listener_gets_nothing_of_another_principals_task(tmp_path: Path) -> None:
    async with shared(tmp_path, SandboxConfig(seconds=3600, art="plain")) as server:
        alice, bob = server.tokens["alice"], server.tokens["bob"]
        async with client_with(server.url, token=alice, extensions=[TasksDeclared()]) as client:
            task_id = (await call(client, "generate_image", prompt="a cat"))["taskId"]
            async with listening(server.url, [task_id], alice) as own, listening(server.url, [task_id], bob) as others:
                assert (await anext(own))["params"]["notifications"] == {"taskIds": [task_id]}
                assert (await anext(own))["params"]["taskId"] == task_id
                assert (await anext(others))["params"]["notifications"] == {"taskIds": []}


async def test_polls_are_not_counted_against_the_callers_limit(tmp_path: Path) -> None:
    limits = {"NANO_BANANA_CALLS_PER_MINUTE": "3"}
    async with (
        shared(tmp_path, SandboxConfig(seconds=3600, art="plain"), **limits) as server,
        client_with(server.url, token=server.tokens["alice"], extensions=[TasksDeclared()]) as client,
    ):
        task_id = (await call(client, "generate_image", prompt="a cat"))["taskId"]
        for _ in range(20):
            assert (await ask(client, "tasks/get", task_id))["status"] == "working"
