"""Answers follow the protocol revision that the client negotiated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nano_banana_tools.revisions import RevisionFilter
from tests.support.clients import client_at, facts
from tests.support.sandbox import plain_sandbox

RESULT = {
    "content": [{"type": "text", "text": "success"}, {"type": "resource_link", "uri": "https://e.org/a.png"}],
    "structuredContent": {"status": "success"},
    "isError": False,
}
TOOLS = {
    "tools": [
        {"name": "t", "title": "T", "inputSchema": {}, "outputSchema": {}, "annotations": {"title": "T"}, "_meta": {}}
    ]
}
INITIALIZE = {"serverInfo": {"name": "s", "title": "S", "icons": []}, "capabilities": {"completions": {}, "tools": {}}}


async def filtered(version: str, method: str, answer: dict[str, Any], **options: bool) -> Any:
    async def call_next(_: Any) -> dict[str, Any]:
        return answer

    context: Any = SimpleNamespace(protocol_version=version, method=method)
    return await RevisionFilter(**options)(context, call_next)


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26"])
async def test_results_for_older_clients_have_neither_links_nor_structured_content(version: str) -> None:
    assert await filtered(version, "tools/call", RESULT) == {"content": RESULT["content"][:1], "isError": False}  # type: ignore[index]  # a list


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25", "2026-07-28"])
async def test_results_for_newer_clients_are_complete(version: str) -> None:
    assert await filtered(version, "tools/call", RESULT) == RESULT
    assert await filtered(version, "tools/list", TOOLS) == TOOLS


@pytest.mark.parametrize(
    ("version", "fields"),
    [("2024-11-05", {"name", "inputSchema"}), ("2025-03-26", {"name", "inputSchema", "annotations"})],
)
async def test_listed_tools_have_only_the_fields_of_the_revision(version: str, fields: set[str]) -> None:
    assert set((await filtered(version, "tools/list", TOOLS))["tools"][0]) == fields


async def test_an_old_client_is_not_greeted_with_titles_or_completions() -> None:
    answer = await filtered("2025-11-25", "initialize", {**INITIALIZE, "protocolVersion": "2024-11-05"})
    assert answer["serverInfo"] == {"name": "s"}
    assert answer["capabilities"] == {"tools": {}}


@pytest.mark.parametrize(
    ("version", "fields"), [("2025-06-18", {"name", "title"}), ("2025-11-25", {"name", "title", "icons"})]
)
async def test_icons_are_for_clients_whose_revision_has_them(version: str, fields: set[str]) -> None:
    answer = await filtered("2025-11-25", "initialize", {**INITIALIZE, "protocolVersion": version})
    assert set(answer["serverInfo"]) == fields


async def test_resource_links_can_be_turned_off() -> None:
    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_at(sandbox.url, resource_links="off") as client,
    ):
        result = await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
    assert [block.type for block in result.content] == ["text"]
    assert facts(result)["images"]
