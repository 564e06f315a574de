"""Arguments as hosts and models really send them."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.client import Client
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, CallToolResult, Request

from nano_banana_sandbox.server import serve_sandbox
from nano_banana_tools.host_arguments import normalize_arguments
from tests.support.clients import client_at, facts, text
from tests.support.sandbox import plain_config

NAMES = ("prompt", "count", "aspect_ratio", "task_id", "timeout_seconds")
ENDLESS = plain_config(seconds=3_600)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("taskId", "task_id"), ("aspectRatio", "aspect_ratio"), ("aspect-ratio", "aspect_ratio"), ("Prompt", "prompt")],
)
def test_other_spellings_of_an_argument_are_accepted(name: str, expected: str) -> None:
    assert normalize_arguments({name: "x"}, NAMES) == {expected: "x"}


@pytest.mark.parametrize(
    "name",
    ["toolCallId", "sessionId", "action", "chatInput", "tool", "wait_for_previous", "random_string", "_meta", "_n8n"],
)
def test_arguments_that_hosts_add_are_dropped(name: str) -> None:
    assert normalize_arguments({name: "x", "prompt": "a cat"}, NAMES) == {"prompt": "a cat"}


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("n", "count"),
        ("batchSize", "count"),
        ("num_outputs", "count"),
        ("timeout", "timeout_seconds"),
        ("promt", "prompt"),
        ("cuont", "count"),
    ],
)
def test_a_misspelt_argument_is_refused_with_the_right_name(name: str, suggestion: str) -> None:
    with pytest.raises(ToolError, match=f"Did you mean {suggestion}"):
        normalize_arguments({name: 2}, NAMES)


def test_a_missing_argument_is_named_before_anything_else() -> None:
    with pytest.raises(ToolError) as refused:
        normalize_arguments({"style": "anime"}, NAMES, ["prompt"])
    assert str(refused.value).startswith("prompt is required. There is no argument 'style'.")


def test_an_argument_in_two_spellings_with_different_values_is_refused() -> None:
    with pytest.raises(ToolError, match="task_id is given twice"):
        normalize_arguments({"taskId": "ta1", "task_id": "ta2"}, NAMES)


@pytest.mark.parametrize(
    ("text_", "ratio"),
    [
        ("16x9", "16:9"),
        ("16/9", "16:9"),
        ("16：9", "16:9"),
        ("16 : 9", "16:9"),
        ("widescreen", "16:9"),
        ("Square", "1:1"),
    ],
)
async def test_other_ways_to_write_a_format_are_understood(text_: str, ratio: str) -> None:
    async with serve_sandbox(ENDLESS) as sandbox, client_at(sandbox.url) as client:
        result = await client.call_tool("generate_image", {"prompt": "a cat", "aspectRatio": text_, "sessionId": "1"})
        assert not result.is_error, text(result)
        assert sandbox.tasks[0].order.request["aspect_ratio"] == ratio


async def call_with(client: Client, arguments: Any) -> CallToolResult:
    request = Request[Any, str](method="tools/call", params={"name": "generate_image", "arguments": arguments})
    return await client.session.send_request(request, CallToolResult)


async def test_arguments_as_json_text_are_parsed() -> None:
    async with serve_sandbox(ENDLESS) as sandbox, client_at(sandbox.url, mode="legacy") as client:
        assert not (await call_with(client, '{"prompt": "a cat"}')).is_error
        assert sandbox.tasks[0].order.request["prompt"] == "a cat"


@pytest.mark.parametrize("arguments", ["a cat", "[1]", ["a cat"], 7])
async def test_arguments_that_are_no_object_are_refused_with_the_reason(arguments: Any) -> None:
    async with serve_sandbox(ENDLESS) as sandbox, client_at(sandbox.url, mode="legacy") as client:
        with pytest.raises(MCPError, match=r"params\.arguments must be an object") as refused:
            await call_with(client, arguments)
        assert refused.value.error.code == INVALID_PARAMS
        assert sandbox.stats.submits == 0


async def test_the_request_id_null_protects_like_any_other() -> None:
    async with serve_sandbox(ENDLESS) as sandbox, client_at(sandbox.url) as client:
        arguments = {"prompt": "a cat", "request_id": "null"}
        first, second = [facts(await client.call_tool("generate_image", arguments)) for _ in range(2)]
        assert first["task_id"] == second["task_id"]
        assert sandbox.stats.submits == 1


@pytest.mark.parametrize("name", ["model", "callback_url"])
async def test_null_as_text_is_refused_where_it_means_nothing(name: str) -> None:
    async with serve_sandbox(ENDLESS) as sandbox, client_at(sandbox.url) as client:
        result = await client.call_tool("generate_image", {"prompt": "a cat", name: "null"})
        assert result.is_error
        assert name in text(result)
        assert sandbox.stats.submits == 0
