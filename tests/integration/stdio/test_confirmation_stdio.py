"""Confirmation over stdio, where the front leaves the list of tools to the real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import stdio_client

from tests.support.clients import child_at, facts, text
from tests.support.people import CAT, DECLINE, Person, answered, asked, choose
from tests.support.sandbox import plain_sandbox


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_person_is_asked_over_stdio(era: Any, tmp_path: Path) -> None:
    person = Person(choose(2))
    arguments = {"prompt": "a cat", "count": 4, "wait_seconds": 240}
    async with plain_sandbox(seconds=0) as sandbox:
        process = child_at(sandbox.url, NANO_BANANA_STATE_DIR=tmp_path, NANO_BANANA_CONFIRM="always")
        async with Client(stdio_client(process), mode=era, elicitation_callback=person) as client:
            accepted = await client.call_tool("generate_image", arguments)
            person.answer = DECLINE
            declined = await client.call_tool("generate_image", arguments)
        assert sandbox.stats.submits == 2
    assert len(person.questions) == 2
    assert len(facts(accepted)["images"]) == 2
    assert "not sent, not charged" in text(declined)


async def test_a_call_that_is_repeated_after_a_restart_leads_to_the_approved_image(tmp_path: Path) -> None:
    async with plain_sandbox(seconds=0) as sandbox:
        process = child_at(sandbox.url, NANO_BANANA_STATE_DIR=tmp_path, NANO_BANANA_CONFIRM="always")
        async with Client(stdio_client(process), elicitation_callback=Person()) as client:
            state = await asked(client)
            approved = await answered(client, state)
        async with Client(stdio_client(process), elicitation_callback=Person()) as client:
            repeated = await answered(client, state)
        assert sandbox.stats.submits == CAT["count"]
    assert facts(repeated)["task_id"] == facts(approved)["task_id"]


async def test_a_client_without_forms_is_refused_and_sees_the_mark_from_its_first_list_on(tmp_path: Path) -> None:
    async with plain_sandbox(seconds=0) as sandbox:
        process = child_at(sandbox.url, NANO_BANANA_STATE_DIR=tmp_path, NANO_BANANA_CONFIRM="0.1")
        async with Client(stdio_client(process), mode="legacy") as client:
            tools = {tool.name: tool.meta or {} for tool in (await client.list_tools()).tools}
            result = await client.call_tool("generate_image", {"prompt": "a cat"})
        assert [name for name, meta in tools.items() if "anthropic/requiresUserInteraction" in meta] == [
            "generate_image"
        ]
        assert result.is_error
        assert "Not sent, not charged." in text(result)
        assert sandbox.stats.submits == 0
