"""The server with real clients of both protocol eras, over stdio to a child process and in this process."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.types import BlobResourceContents, TextResourceContents

from nano_banana_mcp.app import build_server
from nano_banana_mcp.settings import load_settings
from nano_banana_mcp.tracking.schedule import Schedule
from tests.support.clients import child_at, client_at, facts, text
from tests.support.sandbox import plain_sandbox

CROWD = 30


@pytest.mark.parametrize(("mode", "is_process"), [("auto", True), ("legacy", False)])
async def test_an_image_arrives_in_either_protocol_era(mode: Any, is_process: bool) -> None:
    reports: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        reports.append((progress, total, message))

    async with (
        plain_sandbox(seconds=1.0) as sandbox,
        Client(child_at(sandbox.url), mode=mode) if is_process else client_at(sandbox.url, mode=mode) as client,
    ):
        made = await client.call_tool("generate_image", {"prompt": "a cat"})
        task_id = facts(made)["task_id"]
        done = await client.call_tool("wait_for_image", {"task_id": task_id}, progress_callback=on_progress)
        assert facts(done)["status"] == "success"
        assert facts(await client.call_tool("get_task", {"task_id": task_id}))["status"] == "success"
        for uri in (facts(done)["images"][0]["url"], facts(done)["images"][0]["resource_uri"]):
            contents = (await client.read_resource(uri)).contents[0]
            assert isinstance(contents, BlobResourceContents)
    assert reports
    values = [value for value, _, _ in reports]
    assert values == sorted(set(values))
    assert all(total == 45 for _, total, _ in reports)
    assert reports[0][2] == "pending, 0 s"


async def test_the_fastmcp_client_gets_its_image() -> None:
    # Every worker of a run would import it with this module, which takes most of a second.
    from fastmcp.client import Client as FastMCPClient
    from fastmcp.client.transports import StdioTransport

    async with plain_sandbox(seconds=0.5) as sandbox:
        parameters = child_at(sandbox.url)
        transport = StdioTransport(parameters.command, parameters.args, env=parameters.env)
        async with FastMCPClient(transport) as client:
            names = {tool.name for tool in await client.list_tools()}
            assert names >= {"generate_image", "get_task", "wait_for_image", "view_image"}
            result = await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
            assert result.structured_content is not None
            assert result.structured_content["status"] == "success"
            contents = await client.read_resource(result.structured_content["images"][0]["url"])
            assert contents


async def test_without_a_key_the_server_starts_lists_its_tools_and_each_call_says_what_to_do() -> None:
    async with Client(build_server(load_settings(), local=True)) as client:
        assert "view_image" in {tool.name for tool in (await client.list_tools()).tools}
        for tool, arguments in (("generate_image", {"prompt": "a cat"}), ("get_task", {"task_id": "ta1"})):
            result = await client.call_tool(tool, arguments)
            assert result.is_error
            assert "DEFAPI_API_KEY" in text(result)
            assert "--sandbox" in text(result)


async def test_many_waits_for_as_many_tasks_all_return() -> None:
    async with plain_sandbox(seconds=1.0) as sandbox, client_at(sandbox.url) as client:
        done: list[str] = []

        async def one(number: int) -> None:
            made = await client.call_tool("generate_image", {"prompt": f"cat {number}"})
            result = await client.call_tool(
                "wait_for_image", {"task_id": facts(made)["task_id"], "timeout_seconds": 240}
            )
            done.append(facts(result)["status"])

        async with anyio.create_task_group() as group:
            for number in range(CROWD):
                group.start_soon(one, number)
        assert done == ["success"] * CROWD
        assert sandbox.stats.submits == sandbox.stats.charged == CROWD


async def test_twenty_waits_for_one_task_share_their_queries() -> None:
    async with plain_sandbox(seconds=2.0) as sandbox, client_at(sandbox.url, schedule=Schedule()) as client:
        task_id = facts(await client.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]

        async def one() -> None:
            result = await client.call_tool("wait_for_image", {"task_id": task_id, "timeout_seconds": 240})
            assert facts(result)["status"] == "success"

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(one)
        assert sandbox.stats.queries_by_task[task_id] < 20


async def test_a_cancelled_wait_stops_querying_and_leaves_the_server_well() -> None:
    async with plain_sandbox(seconds=3600) as sandbox, client_at(sandbox.url) as client:
        cancelled, other = [
            facts(await client.call_tool("generate_image", {"prompt": prompt}))["task_id"]
            for prompt in ("a cat", "a dog")
        ]
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "wait_for_image", {"task_id": cancelled})
            with anyio.fail_after(60):
                await sandbox.until(lambda stats: stats.queries >= 1)
            group.cancel_scope.cancel()
        await client.call_tool("wait_for_image", {"task_id": other, "timeout_seconds": 1})
        queries = sandbox.stats.queries_by_task[cancelled]
        # A loop that had gone on would query as often for one task as for the other.
        await client.call_tool("wait_for_image", {"task_id": other, "timeout_seconds": 1})
        assert sandbox.stats.queries_by_task[other] > 2
        assert sandbox.stats.queries_by_task[cancelled] == queries
        assert facts(await client.call_tool("get_task", {"task_id": cancelled}))["finished"] is False


async def test_a_submit_whose_caller_has_gone_is_still_recorded() -> None:
    """The caller cancels while the API has the request and has not answered yet."""
    async with plain_sandbox(drip_interval=0.01) as sandbox, client_at(sandbox.url) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "generate_image", {"prompt": "a cat sandbox:submit=drip"})
            with anyio.fail_after(60):
                await sandbox.until(lambda stats: stats.charged == 1)
            group.cancel_scope.cancel()
        with anyio.fail_after(60):
            while True:  # each read is a round trip; the recording follows the answer within one or two
                contents = (await client.read_resource("nanobanana://tasks")).contents[0]
                assert isinstance(contents, TextResourceContents)
                if sandbox.tasks[0].id in contents.text:
                    break
        assert sandbox.stats.submits == 1


async def test_resources_list_the_recent_images_and_templates() -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        always = ["nanobanana://tasks", "nanobanana://account"]
        assert [str(resource.uri) for resource in (await client.list_resources()).resources] == always
        result = await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
        listed = (await client.list_resources()).resources
        assert [str(resource.uri) for resource in listed[2:]] == [facts(result)["images"][0]["url"]]
        assert listed[2].title == "a cat"
        templates = (await client.list_resource_templates()).resource_templates
        assert [template.uri_template for template in templates] == [
            "nanobanana://tasks/{task_id}",
            "nanobanana://tasks/{task_id}/images/{n}",
            "nanobanana://uploads/{id}",
        ]
