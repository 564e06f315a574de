"""The results of the tools for every kind of end."""

import json
from typing import Any

import pytest
from mcp.types import BlobResourceContents, ResourceLink

from nano_banana_sandbox.server import serve_sandbox
from tests.support.clients import client_at, facts, text
from tests.support.sandbox import plain_config, plain_sandbox

QUICK = plain_config(seconds=0.0)
FIELDS = {
    "task_id",
    "status",
    "finished",
    "images",
    "saved_paths",
    "model",
    "credits_consumed",
    "message",
    "next_step",
    "elapsed_seconds",
}


async def finished(prompt: str, tool: str = "wait_for_image") -> tuple[Any, Any]:
    """A finished result, and the contents that its first picture reads out as."""
    async with serve_sandbox(QUICK) as sandbox, client_at(sandbox.url) as client:
        made = await client.call_tool("generate_image", {"prompt": prompt})
        result = await client.call_tool(tool, {"task_id": facts(made)["task_id"]})
        links = [item for item in result.content if isinstance(item, ResourceLink)]
        contents = (await client.read_resource(links[0].uri)).contents[0] if links else None
        return result, contents


async def test_a_submit_returns_at_once_with_the_task_id_and_what_to_do_next() -> None:
    async with plain_sandbox(seconds=3600) as sandbox, client_at(sandbox.url) as client:
        result = await client.call_tool("generate_image", {"prompt": "a cat"})
        answer = facts(result)
        assert set(answer) == FIELDS
        assert answer["status"] == "pending"
        assert answer["finished"] is False
        assert answer["images"] == []
        assert answer["task_id"] == sandbox.tasks[0].id
        assert answer["task_id"] in answer["next_step"]
        assert "wait_for_image" in answer["next_step"]
        assert answer["task_id"] in text(result)
        assert "wait_for_image" in text(result)
        assert sandbox.stats.queries == 0


async def test_a_finished_image_is_linked_by_its_own_url() -> None:
    result, contents = await finished("a cat")
    answer = facts(result)
    [image] = answer["images"]
    [link] = [item for item in result.content if isinstance(item, ResourceLink)]
    assert not result.is_error
    assert answer["status"] == "success"
    assert answer["finished"] is True
    assert answer["next_step"] is None
    assert answer["credits_consumed"] == "0.500000"
    assert answer["elapsed_seconds"] >= 0
    assert link.uri == image["url"]
    assert image["resource_uri"] == f"nanobanana://tasks/{answer['task_id']}/images/0"
    assert link.mime_type == image["mime_type"] == "image/png"
    assert isinstance(contents, BlobResourceContents)
    assert contents.mime_type == "image/png"


@pytest.mark.parametrize(
    "prompt",
    ["a cat", "a cat sandbox:result=many", "a cat sandbox:result=text", "a cat sandbox:result=data-uri", "x" * 30_000],
)
async def test_every_fact_is_in_the_text_too(prompt: str) -> None:
    result, _ = await finished(prompt)
    answer, words = facts(result), text(result)
    assert answer["task_id"] in words
    assert answer["status"] in words
    for image in answer["images"]:
        assert image["resource_uri"] in words
        assert image["mime_type"] in words
        assert image["url"] is None or image["url"] in words


async def test_several_images_are_all_linked_and_readable() -> None:
    async with serve_sandbox(QUICK) as sandbox, client_at(sandbox.url) as client:
        made = await client.call_tool("generate_image", {"prompt": "cats sandbox:result=many"})
        result = await client.call_tool("wait_for_image", {"task_id": facts(made)["task_id"]})
        links = [item for item in result.content if isinstance(item, ResourceLink)]
        assert len(links) == len(facts(result)["images"]) == 4
        blobs = set()
        for link, image in zip(links, facts(result)["images"], strict=True):
            by_link = (await client.read_resource(link.uri)).contents[0]
            by_number = (await client.read_resource(image["resource_uri"])).contents[0]
            assert isinstance(by_link, BlobResourceContents)
            assert isinstance(by_number, BlobResourceContents)
            assert by_link.blob == by_number.blob
            blobs.add(by_link.blob)
        assert len(blobs) == 4


@pytest.mark.parametrize("words", ["sandbox:result=data-uri", "sandbox:result=big-data-uri"])
async def test_a_data_uri_is_readable_as_a_resource_and_never_in_text_or_structure(words: str) -> None:
    result, contents = await finished(f"a cat {words}")
    answer = facts(result)
    assert answer["images"][0]["url"] is None
    assert len(json.dumps(answer)) < 1_000
    assert "base64" not in json.dumps(answer)
    assert "base64" not in text(result)
    assert isinstance(contents, BlobResourceContents)
    assert contents.mime_type == "image/png"


async def test_an_image_with_a_wrong_label_is_read_out_with_the_type_of_its_bytes() -> None:
    _, contents = await finished("a cat sandbox:picture=mislabelled")
    assert contents.mime_type == "image/jpeg"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sandbox:result=text", "instead of drawing"),
        ("sandbox:result=empty", "billed"),
        ("sandbox:result=null", "contains no image"),
        ("sandbox:result=failed sandbox:reason=too_wet", "too wet"),
    ],
)
@pytest.mark.parametrize("tool", ["wait_for_image", "get_task"])
async def test_an_end_without_an_image_says_why(words: str, expected: str, tool: str) -> None:
    result, _ = await finished(f"a cat {words}", tool)
    answer = facts(result)
    assert answer["status"] == "failed"
    assert answer["finished"] is True
    assert answer["images"] == []
    assert expected in answer["message"]
    assert expected in text(result)
    assert result.is_error is (tool == "wait_for_image")


async def test_a_success_without_an_image_says_that_credits_may_be_gone() -> None:
    result, _ = await finished("a cat sandbox:result=text")
    assert "charged" in facts(result)["message"]


@pytest.mark.parametrize("words", ["result=object", "result=flat", "result=mixed", "result=string-items"])
async def test_the_odd_shapes_of_a_result_are_understood(words: str) -> None:
    result, contents = await finished(f"a cat sandbox:{words}")
    assert facts(result)["status"] == "success"
    assert isinstance(contents, BlobResourceContents)


@pytest.mark.parametrize(("word", "expected"), [("string", "0.500000"), ("number", "0.5"), ("null", None)])
async def test_credits_are_reported_whatever_their_form(word: str, expected: str | None) -> None:
    result, _ = await finished(f"a cat sandbox:consumed={word}")
    assert facts(result)["credits_consumed"] == expected


async def test_a_status_that_is_not_in_the_guide_means_still_working() -> None:
    async with plain_sandbox(seconds=3600) as sandbox, client_at(sandbox.url) as client:
        made = await client.call_tool("generate_image", {"prompt": "a cat sandbox:status=dreaming"})
        result = await client.call_tool("get_task", {"task_id": facts(made)["task_id"]})
        assert facts(result)["status"] == "in_progress"


async def test_a_task_that_is_not_found_just_after_its_submit_is_pending() -> None:
    async with plain_sandbox(seconds=0.2) as sandbox, client_at(sandbox.url) as client:
        made = await client.call_tool("generate_image", {"prompt": "a cat sandbox:query=404*2"})
        task_id = facts(made)["task_id"]
        first = await client.call_tool("get_task", {"task_id": task_id})
        assert facts(first)["status"] == "pending"
        assert facts(await client.call_tool("wait_for_image", {"task_id": task_id}))["status"] == "success"


async def test_an_unknown_task_is_an_error() -> None:
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        for tool in ("get_task", "wait_for_image"):
            result = await client.call_tool(tool, {"task_id": "ta-unknown"})
            assert result.is_error
            assert "404" in text(result)


async def test_a_task_of_another_program_can_be_queried_and_its_image_read() -> None:
    async with serve_sandbox(QUICK) as sandbox, client_at(sandbox.url) as one, client_at(sandbox.url) as other:
        task_id = facts(await one.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
        result = await other.call_tool("get_task", {"task_id": task_id})
        assert facts(result)["status"] == "success"
        contents = (await other.read_resource(facts(result)["images"][0]["url"])).contents[0]
        assert isinstance(contents, BlobResourceContents)


async def test_a_finished_task_is_not_queried_again() -> None:
    async with serve_sandbox(QUICK) as sandbox, client_at(sandbox.url) as client:
        task_id = facts(await client.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
        for _ in range(3):
            await client.call_tool("get_task", {"task_id": task_id})
            await client.call_tool("wait_for_image", {"task_id": task_id})
        assert sandbox.stats.queries == 1


async def test_a_timeout_is_no_error_and_says_what_to_do_next() -> None:
    async with plain_sandbox(seconds=3600) as sandbox, client_at(sandbox.url) as client:
        task_id = facts(await client.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
        result = await client.call_tool("wait_for_image", {"task_id": task_id, "timeout_seconds": 1})
        assert not result.is_error
        assert facts(result)["finished"] is False
        assert "wait_for_image" in facts(result)["next_step"]


async def test_a_generation_can_wait_for_its_image() -> None:
    async with serve_sandbox(QUICK) as sandbox, client_at(sandbox.url) as client:
        result = await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
        assert facts(result)["status"] == "success"
        failed = await client.call_tool("generate_image", {"prompt": "x sandbox:result=failed", "wait_seconds": 240})
        assert failed.is_error
        assert facts(failed)["status"] == "failed"


async def test_an_error_after_the_submit_never_loses_the_task_id() -> None:
    async with serve_sandbox(QUICK) as sandbox, client_at(sandbox.url) as client:
        result = await client.call_tool("generate_image", {"prompt": "x sandbox:query=401", "wait_seconds": 5})
        assert not result.is_error
        assert facts(result)["task_id"] == sandbox.tasks[0].id
        assert "401" in facts(result)["message"]
        assert "wait_for_image" in facts(result)["next_step"]
