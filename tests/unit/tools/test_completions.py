"""Completions of the arguments of prompts and resource templates."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, TextContent
from pydantic import TypeAdapter

from nano_banana_mcp.settings import load_settings
from nano_banana_mcp.storage import open_database
from nano_banana_tools.arguments import ASPECT_RATIOS, IMAGE_SIZES, AspectRatio, ImageSize, Model
from nano_banana_tools.completions import MAX_SEARCHED_GENERATIONS, MODELS
from nano_banana_tools.prompts.catalog import PROMPTS
from tests.support.clients import client_at
from tests.support.gallery import drawn
from tests.support.prompts import IMAGE, TASK, completed, made, offered
from tests.support.sandbox import plain_sandbox

NOWHERE = "http://127.0.0.1:9"


async def test_formats_sizes_models_and_styles_are_offered_by_how_they_begin() -> None:
    async with client_at(NOWHERE) as client:
        assert await offered(client, "poster", "aspect_ratio") == list(ASPECT_RATIOS)
        assert await offered(client, "poster", "aspect_ratio", "4") == ["4:3", "4:5"]
        assert await offered(client, "poster", "image_size", "2") == ["2k"]
        assert await offered(client, "poster", "model", "google/nano-banana-") == [
            "google/nano-banana-2",
            "google/nano-banana-pro",
        ]
        assert await offered(client, "poster", "model", "GEM") == ["google/gempix2"]
        assert await offered(client, "poster", "style", "swiss") == ["Swiss typographic"]
        assert await offered(client, "poster", "style", "print") == ["screen print, three colours"]
        assert await offered(client, "restore_photo", "colorize") == ["yes", "no"]
        assert await offered(client, "poster", "style", "rint") == []
        whole = await completed(client, "product_shot", "style")
        assert whole.total == len(whole.values) >= 5
        assert whole.has_more is False


def test_offered_values_are_accepted_by_the_tools() -> None:
    offers: list[tuple[Any, tuple[str, ...]]] = [
        (AspectRatio, ASPECT_RATIOS),
        (ImageSize, IMAGE_SIZES),
        (Model, MODELS),
    ]
    for kind, values in offers:
        assert [TypeAdapter(kind).validate_python(value) for value in values] == list(values)
    for job in PROMPTS.values():
        for argument in job.arguments:
            assert len(set(argument.suggestions)) == len(argument.suggestions)


async def test_models_that_succeeded_come_first_then_the_default() -> None:
    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_at(sandbox.url, model="own/default") as client,
    ):
        for model in ("other/one", "google/nano-banana", "other/one", "google/gemini-2.5-flash-image"):
            await made(client, model=model)
        await made(client, "a cat sandbox:result=text", model="fails/always")
        assert await offered(client, "poster", "model") == [
            "other/one",
            "google/nano-banana",
            "own/default",
            *(model for model in MODELS if model != "google/nano-banana"),
        ]
        assert await offered(client, "poster", "model", "oth") == ["other/one"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_own_tasks_are_offered_newest_first_by_how_they_begin(mode: Any) -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url, mode=mode) as client:
        assert client.server_capabilities is not None
        assert client.server_capabilities.completions is not None
        assert client.server_capabilities.prompts is not None
        assert await offered(client, TASK, "task_id") == []
        first, second = await made(client), await made(client)
        for ref in (TASK, IMAGE, "consistent_character"):
            assert await offered(client, ref, "task_id") == [second, first]
            assert await offered(client, ref, "task_id", first[:-1]) == [first]
            assert await offered(client, ref, "task_id", first[1:]) == []


async def test_only_tasks_with_an_image_are_offered_where_one_is_needed() -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        good, bad = await made(client), await made(client, "a cat sandbox:result=text")
        assert await offered(client, TASK, "task_id") == [bad, good]
        assert await offered(client, "consistent_character", "task_id") == [good]
        assert await offered(client, "edit_picture", "images") == [f"nanobanana://tasks/{good}/images/0"]


async def test_the_images_of_a_task_are_offered_by_number_once_it_is_filled_in() -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        task_id = await made(client, "a cat sandbox:result=many")
        assert await offered(client, IMAGE, "n", task_id=task_id) == ["0", "1", "2", "3"]
        assert await offered(client, IMAGE, "n", "2", task_id=task_id) == ["2"]
        assert await offered(client, IMAGE, "n", "x", task_id=task_id) == []
        assert await offered(client, IMAGE, "n", task_id="ta-missing") == []
        assert await offered(client, IMAGE, "n") == []


async def test_references_are_offered_one_after_another_and_can_be_used_as_they_are() -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        first, second = [f"nanobanana://tasks/{await made(client)}/images/0" for _ in range(2)]
        assert await offered(client, "edit_picture", "images") == [second, first]
        assert await offered(client, "edit_picture", "images", first.split("/")[3]) == [first]
        both = await offered(client, "edit_picture", "images", f"{first}, ")
        assert both == [f"{first}, {second}"]
        assert await offered(client, "edit_picture", "images", f"{first},nanobanana://") == both
        got = await client.get_prompt("edit_picture", {"images": both[0], "change": "make it night"})
        content = got.messages[0].content
        assert isinstance(content, TextContent)
        assert f'images: ["{first}", "{second}"]' in content.text


async def test_at_most_a_hundred_are_offered_and_the_rest_is_counted(tmp_path: Path) -> None:
    async with client_at(NOWHERE, state_dir=tmp_path) as client:

        def some(count: int) -> None:
            with closing(open_database(load_settings(state_dir=tmp_path))) as ledger:
                for _ in range(count):
                    ledger.save(drawn("a cat", api=NOWHERE))

        some(101)
        listed = await completed(client, TASK, "task_id")
        assert (len(listed.values), listed.total, listed.has_more) == (100, 101, True)
        one = await completed(client, TASK, "task_id", listed.values[7])
        assert (one.values, one.total, one.has_more) == ([listed.values[7]], 1, False)
        some(MAX_SEARCHED_GENERATIONS - 101)
        listed = await completed(client, TASK, "task_id", "ta")
        assert (len(listed.values), listed.total, listed.has_more) == (100, None, True)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_unknown_prompt_or_template_is_the_callers_mistake(mode: Any) -> None:
    async with client_at(NOWHERE, mode=mode) as client:
        for ref in ("no-such-prompt", "nanobanana://tasks/{other}", "file:///{path}", "nanobanana://tasks"):
            with pytest.raises(MCPError) as refused:
                await completed(client, ref, "task_id")
            assert refused.value.code == INVALID_PARAMS
            assert "Prompts: " in refused.value.error.message or "Templates: " in refused.value.error.message


@pytest.mark.parametrize("name", ["no-such-argument", "", "n", "product", "__class__"])
async def test_nothing_is_offered_for_an_unknown_or_free_text_argument(name: str) -> None:
    async with client_at(NOWHERE) as client:
        for ref in ("product_shot", TASK):
            nothing = await completed(client, ref, name, "a")
            assert (nothing.values, nothing.total, nothing.has_more) == ([], 0, False)


@pytest.mark.parametrize("value", ["x" * 100_000, "\n", "\u202eta", "שלום", "\x00", "%", "_", "' OR 1=1 --"], ids=repr)
async def test_odd_beginnings_are_answered_like_any_other(value: str) -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        task_id = await made(client)
        blank = not value.strip()
        for ref, name, all_of_them in ((TASK, "task_id", [task_id]), ("poster", "image_size", list(IMAGE_SIZES))):
            assert await offered(client, ref, name, value) == (all_of_them if blank else [])
        assert await offered(client, IMAGE, "n", task_id=value) == []
