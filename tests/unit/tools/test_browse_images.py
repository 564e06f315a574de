"""What `browse_images` tells the model: little, and enough to go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.settings import Settings
from nano_banana_mcp.storage import open_database
from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.server import serve_sandbox
from nano_banana_tools.catalog.browse_images import MAX_TEXT_BYTES, to_browse_result
from tests.support.clients import client_at, facts, text
from tests.support.gallery import drawn

NOWHERE = "http://127.0.0.1:9"
LONG = "등대 a lighthouse ![x](https://evil.example) \u202e" * 40


async def browse(client: Client, **arguments: Any) -> tuple[str, list[dict[str, Any]]]:
    result = await client.call_tool("browse_images", arguments)
    assert not result.is_error, text(result)
    return text(result), facts(result)["generations"]


async def test_the_newest_are_told_with_what_is_needed_to_go_on() -> None:
    async with serve_sandbox(SandboxConfig(seconds=0)) as sandbox, client_at(sandbox.url) as client:
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
        ids = [each["task_id"] for each in reversed(made)]
        assert [row["task_id"] for row in rows] == ids
        assert [(row["status"], row["pictures"]) for row in rows] == [("pending", 0), ("failed", 0), ("success", 4)]
        assert rows[2]["resource_uri"] == made[0]["images"][0]["resource_uri"]
        assert rows[0]["resource_uri"] is None
        for row in rows:
            line = next(line for line in words.splitlines() if row["task_id"] in line)
            assert row["status"] in line
            assert row["prompt"] in line
        assert "success (4): a cat" in words
        assert "nanobanana://tasks/TASK_ID/images/n" in words
        assert (await browse(client, limit=1))[1] == rows[:1]
        assert (await browse(client, search="A DOG"))[1] == rows[1:2]


async def test_nothing_yet_and_nothing_that_fits_are_said_so() -> None:
    async with client_at(NOWHERE) as client:
        assert await browse(client) == ("Nothing was made yet.", [])
        assert await browse(client, search="cat") == ("No prompt has this text in it.", [])
        assert await browse(client, search="  ", limit=None) == ("Nothing was made yet.", [])


@pytest.mark.parametrize("limit", [0, 21, "many", True])
async def test_another_number_is_refused_in_words(limit: Any) -> None:
    async with client_at(NOWHERE) as client:
        result = await client.call_tool("browse_images", {"limit": limit})
        assert result.is_error
        assert "limit" in text(result)


async def test_the_most_stays_short_whatever_the_prompts_and_holds_nothing_unsafe(tmp_path: Path) -> None:
    ledger = open_database(Settings(NANO_BANANA_STATE_DIR=str(tmp_path)))
    for number in range(30):
        ledger.save(drawn(LONG, number, count=4))
    ledger.close()
    async with client_at(NOWHERE, state_dir=tmp_path) as client:
        words, rows = await browse(client, limit=20)
    assert len(rows) == 20
    assert all(row["task_id"] in words for row in rows)
    assert len(words.encode()) <= MAX_TEXT_BYTES
    assert len(json.dumps(rows, ensure_ascii=False).encode()) <= 6_000
    for told in (words, json.dumps(rows, ensure_ascii=False)):
        assert "\u202e" not in told
        assert "![" not in told
        assert "base64" not in told


def test_task_ids_of_any_length_leave_a_bounded_text() -> None:
    found = [Generation(f"in-{n}", task_id="t" * 120 + f"{n:02}", prompt=LONG) for n in range(20)]
    result = to_browse_result(found, None)
    assert len(text(result).encode()) <= MAX_TEXT_BYTES
    assert "more" in text(result).splitlines()[-1]
    assert len(facts(result)["generations"]) == 20
