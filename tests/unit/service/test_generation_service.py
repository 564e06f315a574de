"""What a call that has paid returns, whatever fails afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from mcp.client import Client

from tests.support.clients import client_at, facts, text
from tests.support.sandbox import plain_sandbox


def without_a_place_for_images(folder: Path) -> Path:
    """A state folder in which no image can be stored."""
    (folder / "images").write_bytes(b"a file in its place")
    return folder


@pytest.mark.parametrize("count", [1, 2])
async def test_an_image_that_cannot_be_stored_is_returned_by_its_task_id_and_not_paid_again(
    tmp_path: Path, count: int
) -> None:
    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_at(sandbox.url, state_dir=without_a_place_for_images(tmp_path)) as client,
    ):
        arguments = {"prompt": "a cat sandbox:result=data-uri", "count": count, "wait_seconds": 30, "request_id": "r-1"}
        made = await client.call_tool("generate_image", arguments)
        assert not made.is_error
        assert "could not be stored" in facts(made)["message"]
        assert "nothing was charged" not in text(made)
        again = await client.call_tool("generate_image", arguments)
        assert facts(again)["task_id"] == facts(made)["task_id"]
        assert sandbox.stats.charged == count
        await is_told_that_it_is_not_lost(client, facts(made)["task_id"])


async def test_a_repeated_call_without_a_model_is_the_same_call_after_the_default_has_changed(tmp_path: Path) -> None:
    arguments = {"prompt": "a cat", "request_id": "r-1"}
    async with plain_sandbox(seconds=0) as sandbox:
        async with client_at(sandbox.url, state_dir=tmp_path) as client:
            made = facts(await client.call_tool("generate_image", arguments))
        async with client_at(sandbox.url, state_dir=tmp_path, model="google/nano-banana-pro") as client:
            again = facts(await client.call_tool("generate_image", arguments))
            other = facts(await client.call_tool("generate_image", {"prompt": "a cat", "request_id": "r-2"}))
        assert sandbox.stats.submits == 2
    assert (again["task_id"], again["model"]) == (made["task_id"], made["model"])
    assert other["model"] == "google/nano-banana-pro"


async def is_told_that_it_is_not_lost(client: Client, task_id: str) -> None:
    for tool in ("get_task", "wait_for_image"):
        looked = await client.call_tool(tool, {"task_id": task_id})
        assert looked.is_error
        assert "No task is lost" in text(looked)
        assert "Nothing was sent" not in text(looked)
