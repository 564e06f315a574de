"""The result of `browse_images`: short, and enough for the next call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client

from nano_banana_mcp.settings import load_settings
from nano_banana_mcp.storage import open_database
from tests.support.clients import client_at, facts, text
from tests.support.gallery import drawn
from tests.support.sandbox import plain_sandbox

NOWHERE = "http://127.0.0.1:9"
LONG = "등대 a lighthouse ![x](https://evil.example) \u202e" * 40


async def browse(client: Client, **arguments: Any) -> tuple[str, list[dict[str, Any]]]:
    result = await client.call_tool("browse_images", arguments)
    assert not result.is_error, text(result)
    return text(result), facts(result)["generations"]


async def test_the_newest_are_listed_with_all_that_the_next_call_needs() -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        made = [
            facts(await client.call_tool("generate_image", {"prompt": prompt, "wait_seconds": seconds}))
            for prompt, seconds in (
                ("a cat sandbox:result=many", 20),
                ("a dog sandbox:result=failed", 20),
                ("a slow one sandbox:seconds=3600", 0),
            )
        ]
        queries = sandbox.stats.queries
        words, rows = await browse(client)
        assert sandbox.stats.queries == queries, "looking back asks the API nothing"
        ids = [item["task_id"] for item in reversed(made)]
        assert [row["task_id"] for row in rows] == ids
        assert [(row["status"], row["pictures"]) for row in rows] == [("pending", 0), ("failed", 0), ("success", 4)]
        assert rows[2]["resource_uri"] == made[0]["images"][0]["resource_uri"]
        assert rows[0]["resource_uri"] is None
        for row in rows:
            line = next(line for line in words.splitlines() if row["task_id"] in line)
            assert row["status"] in line
            assert row["prompt"] in line
        assert "success (4 pictures), " in words
        assert "nanobanana://tasks/TASK_ID/images/n" in words
        assert (await browse(client, limit=1))[1] == rows[:1]
        assert (await browse(client, search="A DOG"))[1] == rows[1:2]


async def test_each_row_shows_date_model_price_and_format() -> None:
    arguments = {"prompt": "a cat", "model": "google/nano-banana-2", "aspect_ratio": "16:9", "image_size": "2k"}
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        await client.call_tool("generate_image", {**arguments, "wait_seconds": 240})
        words, [row] = await browse(client)
    assert (row["model"], row["format"]) == ("google/nano-banana-2", "16:9, 2k")
    date = row["created_at"][:10]
    assert f"success, {date} " in words
    assert "UTC, google/nano-banana-2, 16:9, 2k, 0.5 credits: a cat" in words
    assert row["credits_consumed"] is not None


async def test_a_search_for_json_or_the_word_null_is_a_search_for_that_text() -> None:
    async with client_at(NOWHERE) as client:
        for search in ('{"scene":"a cat"}', "null", "[1]"):
            assert await browse(client, search=search) == ("No prompt contains this text.", [])


async def test_an_empty_list_and_an_empty_search_have_messages() -> None:
    async with client_at(NOWHERE) as client:
        assert await browse(client) == ("No pictures have been made yet.", [])
        assert await browse(client, search="cat") == ("No prompt contains this text.", [])
        words, rows = await browse(client, search="강")
        assert rows == []
        assert words.endswith("in the newest 20,000 requests only.")
        assert await browse(client, search="  ", limit=None) == ("No pictures have been made yet.", [])


@pytest.mark.parametrize("limit", [0, 21, "many", True])
async def test_an_invalid_number_is_refused_with_a_message(limit: Any) -> None:
    async with client_at(NOWHERE) as client:
        result = await client.call_tool("browse_images", {"limit": limit})
        assert result.is_error
        assert "limit" in text(result)


async def test_the_longest_list_stays_short_and_safe_whatever_the_prompts(tmp_path: Path) -> None:
    ledger = open_database(load_settings(state_dir=tmp_path))
    for number in range(30):
        ledger.save(drawn(LONG, number, count=4))
    ledger.close()
    async with client_at(NOWHERE, state_dir=tmp_path) as client:
        words, rows = await browse(client, limit=20)
    assert len(rows) == 20
    assert all(row["task_id"] in words for row in rows)
    assert len(words.encode()) <= 5_000
    assert len(json.dumps(rows, ensure_ascii=False).encode()) <= 9_000
    for content in (words, json.dumps(rows, ensure_ascii=False)):
        assert "\u202e" not in content
        assert "![" not in content
        assert "base64" not in content
