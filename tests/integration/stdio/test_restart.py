"""The promise of the ledger, as a host sees it: another server on the same state folder has lost nothing."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.types import BlobResourceContents, TextResourceContents

from nano_banana_mcp.app import build_server
from nano_banana_mcp.settings import load_settings
from tests.support.clients import WITHOUT_PAUSES, child_at, client_at, facts, text
from tests.support.sandbox import plain_sandbox


async def tasks(client: Client) -> list[dict[str, Any]]:
    contents = (await client.read_resource("nanobanana://tasks")).contents[0]
    assert isinstance(contents, TextResourceContents)
    listed: list[dict[str, Any]] = json.loads(contents.text)["tasks"]
    return listed


async def test_after_a_restart_everything_that_was_paid_for_is_there(tmp_path: Path) -> None:
    prompts = ["a cat", "a cat sandbox:result=data-uri", "a cat sandbox:seconds=3600", "x sandbox:result=text"]
    async with plain_sandbox(seconds=0) as sandbox:
        async with client_at(sandbox.url, state_dir=tmp_path) as client:
            made = [facts(await client.call_tool("generate_image", {"prompt": prompt})) for prompt in prompts]
            url, data, running, failed = (item["task_id"] for item in made)
            for task_id in (url, data, failed):
                await client.call_tool("wait_for_image", {"task_id": task_id})
        queries = sandbox.stats.queries
        async with client_at(sandbox.url, state_dir=tmp_path) as client:
            listed = await tasks(client)
            assert [item["task_id"] for item in listed] == [failed, running, data, url]
            assert [item["prompt"] for item in listed] == prompts[::-1]
            assert [item["status"] for item in listed] == ["failed", "pending", "success", "success"]
            assert listed[3]["credits_consumed"] == "0.500000"
            for task_id in (url, data):
                answer = facts(await client.call_tool("get_task", {"task_id": task_id}))
                assert answer["status"] == "success"
                contents = (await client.read_resource(answer["images"][0]["resource_uri"])).contents[0]
                assert isinstance(contents, BlobResourceContents)
                assert contents.mime_type == "image/png"
            assert (await client.call_tool("wait_for_image", {"task_id": failed})).is_error
            assert sandbox.stats.queries == queries
            again = await client.call_tool("wait_for_image", {"task_id": running, "timeout_seconds": 1})
            assert facts(again)["status"] in ("pending", "submitted")
            assert len((await client.list_resources()).resources) == 4
        assert sandbox.stats.submits == 4


async def test_an_image_that_no_call_waits_for_is_noticed_and_stored_while_a_server_runs(tmp_path: Path) -> None:
    async with plain_sandbox(seconds=0) as sandbox:
        async with client_at(sandbox.url, state_dir=tmp_path) as client:
            await client.call_tool("generate_image", {"prompt": "a cat"})
        ledger = sqlite3.connect(tmp_path / "ledger.sqlite3", isolation_level=None)
        ledger.execute("UPDATE generations SET submitted_at = submitted_at - 60")  # it need not be waited for here
        ledger.close()
        async with Client(child_at(sandbox.url, NANO_BANANA_STATE_DIR=tmp_path)) as client:
            await client.call_tool("browse_images", {})  # at the first call the real server starts
            with anyio.fail_after(60):
                await sandbox.until(lambda stats: stats.files == 1)
        assert (sandbox.stats.submits, sandbox.stats.queries) == (1, 1)
        stored = [path.read_bytes()[:4] for path in (tmp_path / "images").rglob("*") if path.is_file()]
        assert stored.count(b"\x89PNG") == 1


async def test_two_servers_of_one_user_share_their_images(tmp_path: Path) -> None:
    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_at(sandbox.url, state_dir=tmp_path) as one,
        client_at(sandbox.url, state_dir=tmp_path) as other,
    ):
        result = await one.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
        assert [item["task_id"] for item in await tasks(other)] == [facts(result)["task_id"]]
        contents = (await other.read_resource(facts(result)["images"][0]["url"])).contents[0]
        assert isinstance(contents, BlobResourceContents)


async def test_images_of_a_sandbox_that_has_ended_are_remembered_but_not_offered(tmp_path: Path) -> None:
    for made_before in (0, 1):
        settings = load_settings(sandbox=True, sandbox_seconds=0.0, state_dir=tmp_path)
        async with Client(build_server(settings, schedule=WITHOUT_PAUSES)) as client:
            await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
            assert len((await client.list_resources()).resources) == 3
            assert len(await tasks(client)) == made_before + 1


async def test_an_unknown_outcome_is_kept_shown_and_never_sent_again(tmp_path: Path) -> None:
    async with plain_sandbox() as sandbox:
        async with client_at(sandbox.url, state_dir=tmp_path) as client:
            result = await client.call_tool("generate_image", {"prompt": "a cat sandbox:submit=reset-after"})
            answer = facts(result)
            assert result.is_error
            assert answer["status"] == "unknown"
            assert "may have been charged" in answer["message"]
            assert "may have been charged" in text(result)
        async with client_at(sandbox.url, state_dir=tmp_path) as client:
            [listed] = await tasks(client)
            assert listed["status"] == "unknown"
            for tool in ("get_task", "wait_for_image"):
                arguments = {"task_id": answer["task_id"]} | ({"timeout_seconds": 1} if "wait" in tool else {})
                looked = await client.call_tool(tool, arguments)
                assert not looked.is_error
                assert facts(looked)["status"] == "unknown"
                assert "may have been charged" in facts(looked)["message"]
                assert "twice" in facts(looked)["next_step"]
        assert sandbox.stats.submits == 1


async def test_the_same_request_id_pays_once_whatever_happened_to_the_answer(tmp_path: Path) -> None:
    arguments = {"prompt": "a cat", "request_id": "0b9c:1.x_Y-2"}
    async with plain_sandbox(seconds=0) as sandbox:
        async with client_at(sandbox.url, state_dir=tmp_path) as client:
            first = facts(await client.call_tool("generate_image", arguments))
            second = facts(await client.call_tool("generate_image", arguments))
            assert second["task_id"] == first["task_id"]
        async with client_at(sandbox.url, state_dir=tmp_path) as client:
            third = facts(await client.call_tool("generate_image", {**arguments, "wait_seconds": 240}))
            assert (third["task_id"], third["status"]) == (first["task_id"], "success")
            other = await client.call_tool("generate_image", {**arguments, "prompt": "a dog"})
            assert other.is_error
            assert "request_id" in text(other)
            assert "nothing was charged" in text(other)
        assert sandbox.stats.submits == sandbox.stats.charged == 1


async def test_without_a_request_id_every_call_is_a_new_image() -> None:
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        ids = {facts(await client.call_tool("generate_image", {"prompt": "a cat"}))["task_id"] for _ in range(3)}
        assert len(ids) == 3
        assert sandbox.stats.charged == 3


async def test_a_refused_request_may_be_asked_again_under_its_request_id() -> None:
    arguments = {"prompt": "a cat sandbox:submit=400*1", "request_id": "one"}
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        assert (await client.call_tool("generate_image", arguments)).is_error
        assert not (await client.call_tool("generate_image", arguments)).is_error
        assert sandbox.stats.charged == 1


async def test_an_unknown_outcome_is_not_sent_again_under_its_request_id() -> None:
    arguments = {"prompt": "a cat sandbox:submit=reset-after*1", "request_id": "one"}
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        for _ in range(2):
            result = await client.call_tool("generate_image", arguments)
            assert result.is_error
            assert facts(result)["status"] == "unknown"
        assert sandbox.stats.submits == 1


@pytest.mark.parametrize("request_id", ["a b", "a/b", "é", "x" * 65, "a\n"])
async def test_a_request_id_of_an_unknown_form_is_refused_with_a_message(request_id: str) -> None:
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        result = await client.call_tool("generate_image", {"prompt": "a cat", "request_id": request_id})
        assert result.is_error is (request_id != "a\n")  # white space around it does not count
        assert sandbox.stats.submits == (1 if request_id == "a\n" else 0)


async def test_nothing_is_submitted_where_the_state_folder_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    async with plain_sandbox() as sandbox, client_at(sandbox.url, state_dir=tmp_path / "state") as client:
        result = await client.call_tool("generate_image", {"prompt": "a cat"})
        assert result.is_error
        assert "ledger" in text(result)
        assert sandbox.stats.submits == 0
