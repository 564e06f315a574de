"""The view's own tool: its result, its size limit and its callers."""

from __future__ import annotations

import base64

import pytest
from mcp.types import BlobResourceContents, CallToolResult, ImageContent

from nano_banana_tools.catalog.read_picture import MAX_BYTES
from tests.support.clients import client_at, facts, text
from tests.support.sandbox import plain_sandbox

pytestmark = pytest.mark.slow


def image(result: CallToolResult) -> ImageContent:
    [content] = result.content
    assert isinstance(content, ImageContent), content
    return content


async def test_it_hands_over_the_bytes_of_the_image_that_is_asked_for_with_its_prompt() -> None:
    prompt = "a cat sandbox:result=many"
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        made = facts(await client.call_tool("generate_image", {"prompt": prompt, "wait_seconds": 240}))
        for number, named in enumerate(made["images"]):
            result = await client.call_tool("read_picture", {"task_id": made["task_id"], "number": number})
            [contents] = (await client.read_resource(named["resource_uri"])).contents
            assert isinstance(contents, BlobResourceContents)
            assert base64.b64decode(image(result).data) == base64.b64decode(contents.blob)
            assert image(result).mime_type == contents.mime_type
            assert result.meta is not None
            assert result.meta["nano-banana/prompt"] == prompt


async def test_it_is_meant_for_the_person_and_has_no_structure_that_repeats_the_bytes() -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        made = facts(await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240}))
        result = await client.call_tool("read_picture", {"task_id": made["task_id"]})
        annotations = image(result).annotations
        assert annotations is not None
        assert annotations.audience == ["user"]
        assert result.structured_content is None
        [tool] = [one for one in (await client.list_tools()).tools if one.name == "read_picture"]
        assert tool.output_schema is None


async def test_an_image_that_would_be_too_much_for_a_result_is_shrunk() -> None:
    prompt = "a cat sandbox:result=big-data-uri"
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        made = facts(await client.call_tool("generate_image", {"prompt": prompt, "wait_seconds": 240}))
        result = await client.call_tool("read_picture", {"task_id": made["task_id"]})
        [image] = [item for item in result.content if isinstance(item, ImageContent)]
        assert len(base64.b64decode(image.data)) <= MAX_BYTES
        assert len(result.model_dump_json()) < 1_000_000


async def test_an_image_that_does_not_exist_is_reported_as_missing() -> None:
    async with plain_sandbox(seconds=3600) as sandbox, client_at(sandbox.url) as client:
        made = facts(await client.call_tool("generate_image", {"prompt": "a cat"}))
        result = await client.call_tool("read_picture", {"task_id": made["task_id"]})
        assert result.is_error
        assert "no picture with that number" in text(result)


async def test_an_image_that_cannot_be_fetched_says_why() -> None:
    arguments = {"prompt": "a cat sandbox:file=404", "wait_seconds": 240}
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        made = facts(await client.call_tool("generate_image", arguments))
        result = await client.call_tool("read_picture", {"task_id": made["task_id"]})
        assert result.is_error
        assert "404" in text(result)
        assert "charged" not in text(result)  # which is about pictures that are asked for
