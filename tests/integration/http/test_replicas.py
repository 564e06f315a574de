"""Three servers on one PostgreSQL: a callback at one wakes waits at another; one that is killed is replaced."""

from __future__ import annotations

from typing import Any

import anyio
from anyio.to_thread import run_sync as in_thread
from mcp.client import Client

from nano_banana_mcp.tracking.schedule import Schedule
from tests.support.clients import WITHOUT_QUERIES
from tests.support.http_server import at, make, served_process
from tests.support.postgres import PASSWORD, Cluster
from tests.support.replicas import Replica, killed_under_load, three
from tests.support.sandbox import plain_config, plain_sandbox
from tests.support.task_clients import ask, call, listening, task_client


async def test_a_callback_at_one_replica_wakes_a_wait_at_another(database: str) -> None:
    async with three(database, plain_config(seconds=0.5), WITHOUT_QUERIES) as (sandbox, [a, _, c]):
        for waiting in (a, c):
            done = await waiting.wait(await make(a.client))
            assert done["status"] == "success"
        assert sandbox.stats.callbacks_failed == 0
        assert sandbox.stats.queries == 2


async def test_a_task_of_one_replica_is_fetched_and_listened_to_at_another(database: str) -> None:
    async with three(database, plain_config(seconds=1.0), WITHOUT_QUERIES) as (sandbox, [a, _, c]):
        for count in (1, 4):
            async with task_client(a.server.url) as first, task_client(c.server.url) as other:
                task_id = (await call(first, "generate_image", prompt="a cat", count=count))["taskId"]
                async with listening(c.server.url, [task_id]) as messages:
                    async for message in messages:
                        if message["params"].get("status") == "completed":
                            break
                fetched = await ask(other, "tasks/get", task_id)
            assert fetched["result"] == message["params"]["result"]
            assert len(fetched["result"]["structuredContent"]["images"]) == count
        assert sandbox.stats.queries == 5


async def test_waits_at_all_replicas_end_without_callbacks_and_each_polls_for_itself(database: str) -> None:
    config = plain_config(seconds=3.0, directives="callback=lost")
    async with three(database, config, Schedule()) as (sandbox, replicas):
        tasks = [await make(replicas[number % 3].client, f"cat {number}") for number in range(3)]
        answers: list[dict[str, Any]] = []

        async def wait(replica: Replica, task_id: str) -> None:
            answers.append(await replica.wait(task_id))

        async with anyio.create_task_group() as group:
            for replica in replicas:
                for task_id in tasks:
                    group.start_soon(wait, replica, task_id)
        assert [answer["status"] for answer in answers] == ["success"] * 9
        per_task = sandbox.stats.queries / len(tasks)
    assert per_task <= 12  # 2 or 3 of each replica


async def test_a_replica_that_is_killed_under_load_loses_and_repeats_nothing(postgres: Cluster, database: str) -> None:
    outcome = await killed_under_load(postgres, database)
    assert len(outcome.lags) == 24
    assert set(outcome.submits_by_prompt.values()) == {1}
    assert outcome.finished == outcome.made
    assert len(outcome.submits_by_prompt) == outcome.rows == 28


async def test_replicas_start_while_the_database_is_away_and_work_when_it_is_back(frail_postgres: Cluster) -> None:
    database = frail_postgres.create()
    frail_postgres.stop()
    async with plain_sandbox(seconds=0) as sandbox:
        with served_process(**at(sandbox.url, NANO_BANANA_LEDGER_URL=database)) as server:
            async with Client(server.url) as client:
                refused = await client.call_tool("generate_image", {"prompt": "a cat"})
                assert refused.is_error
                words = str(refused.content)
                assert "Nothing was sent" in words
                assert "No task is lost. Try again in a moment." in words
                for secret in (PASSWORD, str(frail_postgres.folder), database.split("/")[-1].split("?")[0], "socket"):
                    assert secret not in words
                assert sandbox.stats.submits == 0
                frail_postgres.start()
                with anyio.fail_after(60):
                    while (await client.call_tool("generate_image", {"prompt": "a cat"})).is_error:
                        pass
                assert sandbox.stats.submits == 1
            server.process.terminate()
            _, errors = await in_thread(server.process.communicate)
            assert PASSWORD.encode() not in errors
            assert str(frail_postgres.folder).encode() in errors, (
                "whoever runs the server is told what the database says"
            )
