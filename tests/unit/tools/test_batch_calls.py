"""A batch through the tools, resources, subscriptions and MCP tasks: its id works wherever a task id does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.types import BlobResourceContents, CallToolResult, ImageContent, ResourceLink, TextResourceContents

from nano_banana_mcp.ledger.sqlite import SqliteLedger
from nano_banana_sandbox.sandbox import Sandbox
from tests.support.clients import client_at, facts, text
from tests.support.generations import unsent_again
from tests.support.sandbox import plain_sandbox
from tests.support.task_clients import ask, call, ended, task_client_at

pytestmark = pytest.mark.slow


async def made(client: Client, words: str = "", **arguments: Any) -> CallToolResult:
    return await client.call_tool(
        "generate_image", {"prompt": f"a cat {words}".strip(), "count": 3, "wait_seconds": 240, **arguments}
    )


async def read(client: Client, uri: str) -> TextResourceContents | BlobResourceContents:
    [content] = (await client.read_resource(uri)).contents
    return content


async def test_a_batch_returns_all_images_each_under_the_uri_of_its_own_generation() -> None:
    async with plain_sandbox(seconds=0.0) as sandbox, client_at(sandbox.url) as client:
        result = await made(client)
        answer = facts(result)
        assert (answer["status"], answer["finished"], answer["credits_consumed"]) == ("success", True, "1.500000")
        assert answer["task_id"].startswith("ba-")
        expected = {f"nanobanana://tasks/{task.id}/images/0" for task in sandbox.tasks}
        assert {image["resource_uri"] for image in answer["images"]} == expected
        links = [block.uri for block in result.content if isinstance(block, ResourceLink)]
        assert links == [image["url"] for image in answer["images"]]
        assert all(image["resource_uri"] in text(result) for image in answer["images"])
        again = await client.call_tool("get_task", {"task_id": answer["task_id"]})
        assert facts(again)["images"] == answer["images"]


async def test_the_images_of_a_batch_are_read_viewed_and_used_as_references_by_its_id() -> None:
    async with plain_sandbox(seconds=0.0) as sandbox, client_at(sandbox.url) as client:
        answer = facts(await made(client))
        task_id = answer["task_id"]
        state = await read(client, f"nanobanana://tasks/{task_id}")
        assert isinstance(state, TextResourceContents)
        assert json.loads(state.text)["images"] == answer["images"]
        for number, image in enumerate(answer["images"]):
            by_batch = await read(client, f"nanobanana://tasks/{task_id}/images/{number}")
            assert isinstance(by_batch, BlobResourceContents)
            by_generation = await read(client, image["resource_uri"])
            assert isinstance(by_generation, BlobResourceContents)
            assert by_batch.blob == by_generation.blob
        viewed = await client.call_tool("view_image", {"task_id": task_id})
        assert sum(isinstance(block, ImageContent) for block in viewed.content) == 3
        one = await client.call_tool("view_image", {"task_id": task_id, "number": 2})
        assert sum(isinstance(block, ImageContent) for block in one.content) == 1
        missing = await client.call_tool("view_image", {"task_id": task_id, "number": 3})
        assert "There are 3, number 0 to 2" in text(missing)
        for_page = await client.call_tool("read_picture", {"task_id": task_id, "number": 1})
        assert not for_page.is_error
        reference = f"nanobanana://tasks/{task_id}/images/1"
        edited = await client.call_tool("generate_image", {"prompt": "at night", "images": [reference]})
        assert not edited.is_error, text(edited)
        assert sandbox.tasks[-1].order.request["images"]


async def test_a_batch_in_progress_returns_the_images_there_are_and_says_what_to_call() -> None:
    async with plain_sandbox(seconds=600.0) as sandbox, client_at(sandbox.url) as client:
        answer = facts(await made(client, wait_seconds=0))
        assert (answer["status"], answer["finished"]) == ("in_progress", False)
        assert answer["next_step"] == f'Call wait_for_image with task_id "{answer["task_id"]}".'
        sandbox.tasks[1].born -= 1_000
        waited = await client.call_tool("wait_for_image", {"task_id": answer["task_id"], "timeout_seconds": 1})
        assert (facts(waited)["status"], len(facts(waited)["images"])) == ("in_progress", 1)
        assert not waited.is_error


async def test_the_answer_of_an_unfinished_image_has_the_usual_time_for_the_page() -> None:
    async with plain_sandbox(seconds=0.0) as sandbox, client_at(sandbox.url) as client:
        finished = await made(client)
        unfinished = await made(client, "sandbox:seconds=600", wait_seconds=0)
        assert (finished.meta or {}).get("nano-banana/usual_seconds") is None
        assert (unfinished.meta or {})["nano-banana/usual_seconds"] >= 0.0


async def test_a_partial_failure_is_a_success_that_names_what_failed_and_why() -> None:
    async with plain_sandbox(seconds=0.0) as sandbox, client_at(sandbox.url) as client:
        result = await made(client, "sandbox:submit=400*1")
        assert not result.is_error
        assert len(facts(result)["images"]) == 2
        assert "2 of 3 succeeded." in text(result)
        assert "failed: The image API refused" in text(result)
        assert result.meta is not None
        members = result.meta["nano-banana/members"]
        assert {member["task_id"] for member in members if member["reason"] is None} == {
            task.id for task in sandbox.tasks
        }
        [reason] = [member["reason"] for member in members if member["reason"] is not None]
        assert reason.startswith("The image API refused")


@pytest.mark.parametrize("count", [0, 5, 1.5, "many"])
async def test_a_count_beyond_the_limits_is_refused_before_anything_is_sent(count: Any) -> None:
    async with plain_sandbox(seconds=0.0) as sandbox, client_at(sandbox.url) as client:
        result = await made(client, count=count)
        assert result.is_error
        assert "count" in text(result)
        assert "nothing was charged" in text(result)
        assert sandbox.stats.submits == 0


async def test_a_subscriber_to_a_batch_is_notified_of_each_of_its_images() -> None:
    async with plain_sandbox(seconds=600.0) as sandbox, client_at(sandbox.url) as client:
        task_id = facts(await made(client, wait_seconds=0))["task_id"]
        uri = f"nanobanana://tasks/{task_id}"
        async with client.listen(resource_subscriptions=[uri]) as events:
            end(sandbox)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "wait_for_image", {"task_id": task_id, "timeout_seconds": 20})
                with anyio.fail_after(60):
                    async for event in events:
                        assert getattr(event, "uri", None) == uri
                        break


async def test_a_batch_is_one_task_with_all_images_in_its_result(tmp_path: Path) -> None:
    async with plain_sandbox(seconds=0.5) as sandbox, task_client_at(sandbox.url, state_dir=tmp_path) as client:
        task = await call(client, "generate_image", prompt="a cat", count=4)
        assert (task["resultType"], task["taskId"][:3]) == ("task", "ba-")
        assert "0 of 4 finished" in task["statusMessage"]
        with anyio.fail_after(30):
            result = (await ended(client, task["taskId"]))["result"]
        assert len(result["structuredContent"]["images"]) == 4
        assert sandbox.stats.submits == 4


async def test_a_cancelled_batch_sends_nothing_more_and_keeps_what_was_sent(tmp_path: Path) -> None:
    request = {"prompt": "a cat", "count": 3, "request_id": "r"}
    async with plain_sandbox(seconds=600.0) as sandbox, task_client_at(sandbox.url, state_dir=tmp_path) as client:
        task_id = (await call(client, "generate_image", **request))["taskId"]
        database = SqliteLedger(tmp_path)
        [unsent, *sent] = database.find_batch(task_id)
        database.close()
        unsent_again(tmp_path, unsent)
        assert "Images not yet sent are not sent." in (await ask(client, "tasks/get", task_id))["statusMessage"]
        assert (await ask(client, "tasks/cancel", task_id))["resultType"] == "complete"
        assert (await ask(client, "tasks/get", task_id))["status"] == "working"
        assert (await call(client, "generate_image", **request))["taskId"] == task_id
        assert sandbox.stats.submits == 3
        end(sandbox)
        result = (await ended(client, task_id))["result"]["structuredContent"]
        uris = {f"nanobanana://tasks/{generation.task_id}/images/0" for generation in sent}
        assert {image["resource_uri"] for image in result["images"]} == uris
        assert "Number 1 failed: It was cancelled before it was sent, so it was not charged." in result["message"]


def end(sandbox: Sandbox) -> None:
    for task in sandbox.tasks:
        task.born -= 1_000
