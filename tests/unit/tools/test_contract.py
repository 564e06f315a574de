"""The texts and schemas that hosts and models read: every change is a visible diff."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import jsonschema
import pytest
from mcp.types import Tool
from tdqs.lint_server import lint_server
from tdqs.parse_tool_definitions import parse_tool_definitions

from tests.support.clients import client_at, facts
from tests.support.sandbox import plain_sandbox
from tests.support.snapshots import SNAPSHOTS, as_wire_json, compare_json

NOWHERE = "http://127.0.0.1:9"
ERAS = {"auto": "2026-07-28", "legacy": "2025-11-25"}
VERSION = version("nano-banana-mcp")

either_era = pytest.mark.parametrize("mode", ERAS)


async def listed(mode: Any = "auto") -> tuple[list[Tool], str]:
    async with client_at(NOWHERE, mode=mode) as client:
        result = await client.list_tools()
        return result.tools, result.model_dump_json(by_alias=True, exclude_none=True)


@either_era
async def test_the_tools_are_as_in_their_snapshots(mode: Any) -> None:
    for tool in (await listed(mode))[0]:
        compare_json(f"tools/{ERAS[mode]}/{tool.name}.json", as_wire_json(tool))


@either_era
async def test_the_resource_templates_are_as_in_their_snapshot(mode: Any) -> None:
    async with client_at(NOWHERE, mode=mode) as client:
        templates = (await client.list_resource_templates()).resource_templates
    compare_json("resource_templates.json", [as_wire_json(template) for template in templates])


@either_era
@pytest.mark.parametrize("result", ["url", "data-uri"])
async def test_listed_images_are_of_the_shape_of_their_snapshot(mode: Any, result: str) -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url, mode=mode) as client:
        prompt = f"a cat sandbox:result={result}"
        made = facts(await client.call_tool("generate_image", {"prompt": prompt, "wait_seconds": 240}))
        shown = json.dumps([as_wire_json(resource) for resource in (await client.list_resources()).resources])
    shown = shown.replace(made["task_id"], "TASK_ID").replace(sandbox.url, "https://pictures.example")
    compare_json(f"resources-{result}.json", json.loads(shown))


@either_era
async def test_the_description_of_the_server_is_as_in_its_snapshot(mode: Any) -> None:
    async with client_at(NOWHERE, mode=mode) as client:
        lists = [
            await client.list_tools(),
            await client.list_prompts(),
            await client.list_resources(),
            await client.list_resource_templates(),
        ]
        contract = {
            "protocolVersion": client.protocol_version,
            "serverInfo": as_wire_json(client.server_info) if client.server_info else None,
            "instructions": client.instructions,
            "capabilities": as_wire_json(client.server_capabilities),
            "lists": {type(item).__name__: around(as_wire_json(item)) for item in lists},
        }
    assert contract["protocolVersion"] == ERAS[mode]
    compare_json(f"server-{ERAS[mode]}.json", json.loads(json.dumps(contract).replace(f'"{VERSION}"', '"VERSION"')))


def around(answer: dict[str, Any]) -> dict[str, Any]:
    """What a list says beside its entries."""
    return {name: value for name, value in answer.items() if not isinstance(value, list)}


async def test_every_snapshot_belongs_to_an_existing_tool_or_resource() -> None:
    tools, _ = await listed()
    for era in ERAS.values():
        assert {file.stem for file in (SNAPSHOTS / "tools" / era).iterdir()} == {tool.name for tool in tools}
    servers = {f"server-{era}.json" for era in ERAS.values()}
    resources = {"resource_templates.json", "resources-url.json", "resources-data-uri.json"}
    assert {file.name for file in SNAPSHOTS.glob("*.json")} == servers | resources


@either_era
async def test_all_of_tools_list_fits_in_10500_bytes(mode: Any) -> None:
    assert len((await listed(mode))[1].encode()) <= 10_500


async def test_only_the_tools_that_spend_or_store_are_not_read_only() -> None:
    for tool in (await listed())[0]:
        spends = tool.name == "generate_image"
        changes = spends or tool.name in ("add_reference", "upload_image")
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is not changes
        assert tool.annotations.idempotent_hint is not changes
        assert tool.annotations.open_world_hint is spends
        assert tool.annotations.destructive_hint is False


async def test_only_the_tools_that_make_or_watch_an_image_have_an_output_schema() -> None:
    """Hosts that get structured content drop the images beside it; and what is plain is not worth its bytes."""
    for tool in (await listed())[0]:
        assert (tool.output_schema is None) is (tool.name not in ("generate_image", "get_task", "wait_for_image"))


async def test_every_tool_has_a_title_a_description_and_described_arguments() -> None:
    for tool in (await listed())[0]:
        assert tool.title
        assert 40 <= len(tool.description or "") <= 600
        for name, schema in tool.input_schema["properties"].items():
            assert schema.get("description"), f"{tool.name}.{name}"


async def test_descriptions_name_the_other_tools_so_that_a_model_knows_which_to_use_when() -> None:
    tools = {tool.name: tool.description or "" for tool in (await listed())[0]}
    assert "wait_for_image" in tools["generate_image"]
    assert "wait_for_image" in tools["get_task"]


@pytest.mark.parametrize("prompt", ["a cat", "a cat sandbox:result=text", "a cat sandbox:result=data-uri"])
async def test_answers_keep_to_the_published_output_schema(prompt: str) -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        made = await client.call_tool("generate_image", {"prompt": prompt})
        looked = await client.call_tool("get_task", {"task_id": facts(made)["task_id"]})
        for name, result in (("generate_image", made), ("get_task", looked)):
            schema = tools[name].output_schema
            assert schema is not None
            jsonschema.validate(facts(result), schema)


async def test_the_published_schemas_refuse_what_the_server_refuses() -> None:
    schema = {tool.name: tool.input_schema for tool in (await listed())[0]}["generate_image"]
    jsonschema.validate({"prompt": "a cat", "images": ["https://example.com/a.png"], "wait_seconds": 45}, schema)
    for bad in (
        {},
        {"prompt": "a", "images": ["x"] * 5},
        {"prompt": "a", "wait_seconds": 300},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """A schema and all that is in it."""
    if isinstance(schema, dict):
        yield schema
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from parts(part)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_schemas_keep_to_what_every_client_takes(mode: Any) -> None:
    """A list of types is lost in dialects with one; Google's Gen AI SDK 3.6.1 fails on boolean additionalProperties."""
    for tool in (await listed(mode))[0]:
        for part in [*parts(tool.input_schema), *parts(tool.output_schema)]:
            assert not isinstance(part.get("type"), list), tool.name
            assert not isinstance(part.get("additionalProperties"), bool), tool.name
            assert "$ref" not in part, tool.name


async def test_the_lint_of_tool_descriptions_has_no_warning() -> None:
    definitions = parse_tool_definitions(json.loads((await listed())[1])).tools
    report = lint_server(server_name="nano-banana-mcp", tools=definitions)
    findings = [*report.findings, *(finding for tool in report.tools for finding in tool.findings)]
    assert {finding.severity for finding in findings} <= {"info"}, findings
