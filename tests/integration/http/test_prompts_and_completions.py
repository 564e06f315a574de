"""Prompts and completions of real servers, in either era: mistakes are the caller's, words are not logged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp.types import INTERNAL_ERROR, INVALID_PARAMS

from nano_banana_mcp.app import build_server
from nano_banana_mcp.settings import load_settings
from tests.support.clients import child
from tests.support.http_server import served_process
from tests.support.prompts import IMAGE, NEEDED, TASK, brief, completed, made, offered
from tests.support.sandbox import plain_config
from tests.support.two_callers import ERAS, shared

WORD = "zebracanary"


async def test_an_invalid_prompt_request_is_an_error_of_the_client_and_not_of_the_server() -> None:
    with served_process("--sandbox", NANO_BANANA_LOG_LEVEL="DEBUG") as server:
        for era in ERAS:
            async with Client(server.url, mode=era) as client:
                for name, arguments in ((WORD, {}), ("poster", {"text": WORD}), ("poster", {WORD: "x"})):
                    with pytest.raises(MCPError) as refused:
                        await client.get_prompt(name, arguments)
                    assert refused.value.code == INVALID_PARAMS
                with pytest.raises(MCPError) as refused:
                    await completed(client, WORD, "model")
                assert refused.value.code == INVALID_PARAMS
                assert WORD in await brief(client, "poster", NEEDED["poster"] | {"subject": WORD})
                assert await offered(client, "poster", "style", WORD) == []
        server.process.terminate()
        assert server.process.stderr is not None
        logged = server.process.stderr.read()
    for word in (b"Traceback", b"ERROR", WORD.encode()):
        assert word not in logged


@pytest.mark.parametrize("mode", ERAS)
async def test_prompts_and_completions_work_over_stdio_in_either_era(mode: Any) -> None:
    async with Client(child("--sandbox", NANO_BANANA_SANDBOX_SECONDS="0"), mode=mode) as client:
        assert client.server_capabilities is not None
        assert client.server_capabilities.completions is not None
        assert [prompt.name for prompt in (await client.list_prompts()).prompts] == list(NEEDED)
        for name, arguments in NEEDED.items():
            assert "generate_image" in await brief(client, name, arguments)
        task_id = await made(client)
        assert await offered(client, TASK, "task_id", task_id[:4]) == [task_id]
        assert await offered(client, "edit_picture", "images") == [f"nanobanana://tasks/{task_id}/images/0"]


async def test_without_a_key_prompts_are_there_all_the_same() -> None:
    async with Client(build_server(load_settings())) as client:
        assert "generate_image" in await brief(client, "poster", NEEDED["poster"])
        assert await offered(client, "poster", "image_size") == ["1k", "2k", "4k"]


@pytest.mark.parametrize("era", ERAS)
async def test_nothing_of_anothers_is_offered(era: Any, tmp_path: Path) -> None:
    async with (
        shared(tmp_path, plain_config(seconds=0)) as server,
        server.caller("alice", era) as alice,
        server.caller("bob", era) as bob,
    ):
        hers = await made(alice, model="own/secret-model")
        lost = await alice.call_tool("generate_image", {"prompt": "a cat sandbox:submit=reset-after"})
        assert lost.structured_content is not None
        public_id = str(lost.structured_content["task_id"])
        his = await made(bob)
        queries = server.sandbox.stats.queries
        for ref, name in ((TASK, "task_id"), (IMAGE, "task_id"), ("consistent_character", "task_id")):
            assert await offered(bob, ref, name) == [his]
            assert await offered(bob, ref, name, hers) == []
            assert await offered(bob, ref, name, public_id) == []
        assert await offered(bob, "edit_picture", "images") == [f"nanobanana://tasks/{his}/images/0"]
        assert await offered(bob, "edit_picture", "images", hers) == []
        assert "own/secret-model" not in await offered(bob, "poster", "model")
        assert await offered(bob, "poster", "model", "own/") == []
        theirs = await completed(bob, IMAGE, "n", task_id=hers)
        assert theirs == await completed(bob, IMAGE, "n", task_id="ta-missing")
        assert await offered(alice, TASK, "task_id") == [public_id, hers]
        assert await offered(alice, "poster", "model", "own/") == ["own/secret-model"]
        assert await offered(alice, IMAGE, "n", task_id=hers) == ["0"]
        assert server.sandbox.stats.queries == queries


async def test_too_many_lookups_are_refused_with_the_time_to_retry_and_cost_no_other_caller(tmp_path: Path) -> None:
    async with (
        shared(tmp_path, plain_config(seconds=3600), NANO_BANANA_CALLS_PER_MINUTE="5") as server,
        server.caller("alice") as alice,
        server.caller("bob") as bob,
    ):
        for _ in range(5):
            assert await offered(alice, TASK, "task_id") == []
        with pytest.raises(MCPError) as refused:
            await completed(alice, TASK, "task_id")
        assert refused.value.code == INTERNAL_ERROR
        assert "5 calls per minute" in refused.value.error.message
        assert "Try again in" in refused.value.error.message
        assert await offered(alice, "poster", "image_size", "2") == ["2k"]
        assert await offered(bob, TASK, "task_id") == []
