"""Two server processes on one ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
from mcp.client import Client
from mcp.client.stdio import stdio_client

from tests.support.clients import child_at, facts
from tests.support.sandbox import plain_sandbox


async def test_a_request_to_two_processes_at_once_is_submitted_once_and_saved_once(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    batch = {"prompt": "a cat", "count": 4, "request_id": "cats", "wait_seconds": 240}
    dripped = {"prompt": "a cat sandbox:submit=drip", "request_id": "one"}
    async with plain_sandbox(seconds=0, drip_interval=0.002) as sandbox:
        process = child_at(sandbox.url, NANO_BANANA_STATE_DIR=tmp_path / "state", NANO_BANANA_OUTPUT_DIR=folder)
        async with Client(stdio_client(process)) as first, Client(stdio_client(process)) as second:

            async def from_both(tool: str, arguments: dict[str, Any], times: int = 1) -> list[dict[str, Any]]:
                answers: list[dict[str, Any]] = []

                async def call(client: Client) -> None:
                    answers.append(facts(await client.call_tool(tool, arguments)))

                async with anyio.create_task_group() as calls:
                    for _ in range(times):
                        calls.start_soon(call, first)
                        calls.start_soon(call, second)
                return answers

            await from_both("browse_images", {})  # both processes are past their start
            batches = await from_both("generate_image", batch)
            assert sandbox.stats.submits == len(sandbox.tasks) == 4
            assert batches[0]["task_id"] == batches[1]["task_id"]
            assert [len(answer["images"]) for answer in batches] == [4, 4]

            ids = {answer["task_id"] for answer in await from_both("generate_image", dripped, times=10)}
            assert ids == {sandbox.tasks[4].id}
            assert sandbox.stats.submits == 5

            slow = facts(await first.call_tool("generate_image", {"prompt": "a slow dog sandbox:seconds=1.5"}))
            waited = await from_both("wait_for_image", {"task_id": slow["task_id"]})
    [path] = folder.glob("*dog*.png")
    assert [answer["message"] for answer in waited] == [f"Saved as {path}."] * 2
    lines = (folder / "pictures.jsonl").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if slow["task_id"] in line]) == 1
