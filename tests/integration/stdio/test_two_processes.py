"""Two server processes on one ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
from mcp.client import Client
from mcp.client.stdio import stdio_client

from tests.support.clients import child_at, facts
from tests.support.sandbox import plain_sandbox


async def test_the_same_batch_requested_from_two_processes_at_once_is_submitted_once(tmp_path: Path) -> None:
    answers: list[dict[str, Any]] = []
    arguments = {"prompt": "a cat", "count": 4, "request_id": "cats", "wait_seconds": 240}
    async with plain_sandbox(seconds=0) as sandbox:
        process = child_at(sandbox.url, NANO_BANANA_STATE_DIR=tmp_path)
        async with Client(stdio_client(process)) as first, Client(stdio_client(process)) as second:

            async def generate(client: Client) -> None:
                answers.append(facts(await client.call_tool("generate_image", arguments)))

            for client in (first, second):  # both processes are past their start
                await client.call_tool("browse_images", {})
            async with anyio.create_task_group() as calls:
                calls.start_soon(generate, first)
                calls.start_soon(generate, second)
        assert sandbox.stats.submits == len(sandbox.tasks) == 4
    assert answers[0]["task_id"] == answers[1]["task_id"]
    assert [len(answer["images"]) for answer in answers] == [4, 4]
