"""Bytes that go into a model's context, to a browser, and onto a disk."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
from mcp.client import Client
from mcp.types import CallToolResult

from nano_banana_mcp import views
from tests.lab.benchmarks.cold_start import ECHO
from tests.lab.benchmarks.figures import Relation, Row
from tests.support.clients import client_at, facts, text
from tests.support.sandbox import plain_sandbox
from tests.support.stdio_start import answering

TARGET_LIST_BYTES = 10_500
TARGET_FINISHED_TEXT_BYTES = 600
TARGET_DATA_URI_BYTES = 1_000

PROMPT = "A lighthouse on a quiet coast at dawn, thin fog over the water"


@asynccontextmanager
async def _client() -> AsyncIterator[Client]:
    with tempfile.TemporaryDirectory() as state:
        async with (
            plain_sandbox(seconds=0) as sandbox,
            client_at(sandbox.url, state_dir=state) as client,
        ):
            yield client


async def results() -> dict[str, CallToolResult]:
    """A typical result of each tool."""
    async with _client() as client:

        async def call(tool: str, **arguments: object) -> CallToolResult:
            result = await client.call_tool(tool, arguments)
            assert isinstance(result, CallToolResult)
            assert not result.is_error, result.content
            return result

        submitted = await call("generate_image", prompt=f"{PROMPT} sandbox:seconds=3600")
        is_open = {"task_id": facts(submitted)["task_id"]}
        finished = await call("generate_image", prompt=PROMPT, wait_seconds=60)
        done = {"task_id": facts(finished)["task_id"]}
        return {
            "generate_image": submitted,
            "generate_image, finished": finished,
            "get_task, open": await call("get_task", **is_open),
            "get_task, finished": await call("get_task", **done),
            "wait_for_image, timed out": await call("wait_for_image", **is_open, timeout_seconds=1),
            "wait_for_image, finished": await call("wait_for_image", **done),
            "browse_images, two of them": await call("browse_images"),
            "get_account": await call("get_account"),
            "view_image": await call("view_image", **done),
            "a data URI of 5 MB, finished": await call(
                "generate_image", prompt=f"{PROMPT} sandbox:result=big-data-uri", wait_seconds=60
            ),
        }


async def tools_list() -> dict[str, int]:
    """Bytes of the tools of ``tools/list``, as JSON, by tool."""
    async with _client() as client:
        tools = (await client.list_tools()).tools
    return {tool.name: len(tool.model_dump_json(by_alias=True, exclude_none=True).encode()) for tool in tools}


def rows(quick: bool) -> Iterator[Row]:
    """Sizes of `tools/list`, of typical results and of the pages."""
    sent = {}
    for name, command in (("ours", [sys.executable, "-m", "nano_banana_mcp"]), ("echo", ECHO)):
        with tempfile.TemporaryDirectory() as state, answering(command, NANO_BANANA_STATE_DIR=state) as server:
            sent[name] = len(json.dumps(json.loads(server.answer)["result"], separators=(",", ":")).encode())
    by_tool = anyio.run(tools_list)
    largest = max(by_tool, key=lambda name: by_tool[name])
    yield Row(
        "tools/list",
        sent["ours"],
        "bytes",
        f"a bare SDK echo server's one tool: {sent['echo']}",
        target=TARGET_LIST_BYTES,
        spread=f"{len(by_tool)} tools, the largest is {largest}: {by_tool[largest]}",
    )
    for name, result in anyio.run(results).items():
        target, relation = _promised(name)
        of_text = len(text(result).encode())
        yield Row(f"{name}: text", of_text, "bytes", relation=relation, target=target)
        if result.structured_content is not None:
            structured = len(json.dumps(result.structured_content, ensure_ascii=False).encode())
            target = target if relation == "<" else None
            yield Row(f"{name}: structured content", structured, "bytes", relation=relation, target=target)
    for name in ("picture", "gallery"):
        yield Row(f"page {name}.html", len(views.page(name).encode()), "bytes")


def _promised(result: str) -> tuple[int | None, Relation]:
    if "data URI" in result:
        return TARGET_DATA_URI_BYTES, "<"
    finished = result.endswith(", finished")
    return (TARGET_FINISHED_TEXT_BYTES if finished else None), "≤"
