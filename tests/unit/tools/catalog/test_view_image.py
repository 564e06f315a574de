"""`view_image`: the model sees the images that it made."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from mcp.client import Client
from mcp.types import CallToolResult, ImageContent
from PIL import Image

from nano_banana_mcp.media import previews
from nano_banana_sandbox.sandbox import Sandbox
from nano_banana_sandbox.server import serve_sandbox
from tests.support.clients import client_at, facts, text
from tests.support.fixed_drawings import FixedDrawings
from tests.support.sandbox import plain_config, plain_sandbox

pytestmark = pytest.mark.slow

QUICK = plain_config(seconds=0.0)


def noise(side: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    grey = Image.effect_noise((side, side), 120)
    Image.merge("RGB", (grey, grey.rotate(90), grey.rotate(180))).save(file, kind)
    return file.getvalue()


async def made(client: Client, words: str = "") -> str:
    result = await client.call_tool("generate_image", {"prompt": f"a cat {words}", "wait_seconds": 240})
    task_id: str = facts(result)["task_id"]
    return task_id


def images(result: CallToolResult) -> list[ImageContent]:
    return [item for item in result.content if isinstance(item, ImageContent)]


def opened(image: ImageContent) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image.data)))


def wire_bytes(result: CallToolResult) -> int:
    return len(result.model_dump_json(by_alias=True, exclude_none=True).encode())


async def looked(sandbox: Sandbox, words: str = "", **arguments: Any) -> CallToolResult:
    async with client_at(sandbox.url) as client:
        result = await client.call_tool("view_image", {"task_id": await made(client, words), **arguments})
        assert isinstance(result, CallToolResult)
        assert result.structured_content is None
        return result


@pytest.mark.parametrize("where", ["url", "data-uri"])
async def test_an_image_is_seen_wherever_its_bytes_are(where: str) -> None:
    async with serve_sandbox(QUICK) as sandbox:
        result = await looked(sandbox, f"sandbox:result={where}", max_side=512)
        [image] = images(result)
        assert not result.is_error
        assert image.mime_type == "image/jpeg"
        assert opened(image).size == (512, 512)
        assert sandbox.tasks[0].id in text(result)
        assert "Picture 0: 512 x 512 JPEG" in text(result)
        assert "made from 1024 x 1024 PNG" in text(result)
        assert len(text(result)) < 400


async def test_an_image_that_fits_is_returned_as_it_is() -> None:
    given = noise(100, "JPEG")
    async with serve_sandbox(QUICK) as sandbox:
        sandbox.images = FixedDrawings(given)
        result = await looked(sandbox)
        [image] = images(result)
        assert base64.b64decode(image.data) == given
        assert "original" in text(result)


@pytest.mark.parametrize("kind", ["jpeg", "webp", "gif", "mislabelled"])
async def test_the_type_is_that_of_the_bytes(kind: str) -> None:
    async with serve_sandbox(QUICK) as sandbox:
        [image] = images(await looked(sandbox, f"sandbox:picture={kind}"))
        assert f"image/{(opened(image).format or '').lower()}" == image.mime_type


async def test_four_large_images_share_the_maximum_size_of_one_answer() -> None:
    async with serve_sandbox(QUICK) as sandbox:
        sandbox.images = FixedDrawings(*[noise(1024)] * 4)
        result = await looked(sandbox, "sandbox:result=many")
        sizes = [len(base64.b64decode(image.data)) for image in images(result)]
        assert len(sizes) == 4
        assert max(sizes) <= previews.MAX_ANSWER_BYTES // 4
        assert min(sizes) > previews.MAX_ANSWER_BYTES // 8
        assert wire_bytes(result) < 1_000_000


async def test_one_large_image_takes_no_more_than_500_kb() -> None:
    async with serve_sandbox(QUICK) as sandbox:
        sandbox.images = FixedDrawings(noise(2048))
        result = await looked(sandbox, max_side=2048)
        [image] = images(result)
        assert 250_000 < len(base64.b64decode(image.data)) <= 500_000
        assert wire_bytes(result) < 1_000_000


async def test_one_of_many_is_picked_by_its_number() -> None:
    given = [noise(100 + number, "JPEG") for number in range(4)]
    async with serve_sandbox(QUICK) as sandbox:
        sandbox.images = FixedDrawings(*given)
        result = await looked(sandbox, "sandbox:result=many", number=2)
        [image] = images(result)
        assert base64.b64decode(image.data) == given[2]
        assert "Picture 2:" in text(result)


async def test_an_image_that_cannot_be_shown_says_why_and_hides_no_other() -> None:
    async with serve_sandbox(QUICK) as sandbox:
        cut_png, cut_jpeg = noise(300)[:20_000], noise(300, "JPEG")[:20_000]
        sandbox.images = FixedDrawings(noise(100, "JPEG"), cut_png, b"<html>no</html>", cut_jpeg)
        result = await looked(sandbox, "sandbox:result=many")
        assert not result.is_error
        assert len(images(result)) == 1
        assert "Picture 1 is missing: The answer of 127.0.0.1 breaks off in the middle of the picture" in text(result)
        assert "Picture 3 is missing: The picture is broken or cut off" in text(result)
        assert "Picture 2 is missing: The answer of 127.0.0.1 holds a web page (HTML)" in text(result)


@pytest.mark.parametrize(("fault", "words"), [("403", "403"), ("404", "expired"), ("html", "HTML"), ("huge", "20 MB")])
async def test_an_image_host_that_returns_no_image_is_reported(fault: str, words: str) -> None:
    async with serve_sandbox(QUICK) as sandbox:
        result = await looked(sandbox, f"sandbox:file={fault}")
        assert result.is_error
        assert images(result) == []
        assert words in text(result)


@pytest.mark.parametrize(
    ("words", "count"), [("", "There is 1 picture, number 0"), ("sandbox:result=many", "There are 4, number 0 to 3")]
)
async def test_a_number_that_is_too_high_says_which_there_are(words: str, count: str) -> None:
    async with serve_sandbox(QUICK) as sandbox:
        result = await looked(sandbox, words, number=9)
        assert result.is_error
        assert "no picture number 9" in text(result)
        assert count in text(result)


async def test_an_image_that_is_not_finished_is_no_error_and_says_what_to_do() -> None:
    async with plain_sandbox(seconds=3600) as sandbox, client_at(sandbox.url) as client:
        task_id = facts(await client.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
        result = await client.call_tool("view_image", {"task_id": task_id})
        assert not result.is_error
        assert "no picture yet" in text(result)
        assert f'Call wait_for_image with task_id "{task_id}"' in text(result)


async def test_an_image_that_failed_says_why() -> None:
    async with serve_sandbox(QUICK) as sandbox:
        result = await looked(sandbox, "sandbox:result=failed sandbox:reason=too_wet")
        assert result.is_error
        assert "failed: this task has no picture" in text(result)
        assert "too wet" in text(result)


async def test_an_unknown_outcome_is_reported_as_such() -> None:
    async with serve_sandbox(QUICK) as sandbox:
        result = await looked(sandbox, "sandbox:submit=reset-after")
        assert "unknown: this task has no picture yet" in text(result)
        assert "charged twice" in text(result)


async def test_a_missing_task_is_missing_in_the_words_of_get_task() -> None:
    async with serve_sandbox(QUICK) as sandbox, client_at(sandbox.url) as client:
        one = await client.call_tool("get_task", {"task_id": "ta-unknown"})
        other = await client.call_tool("view_image", {"task_id": "ta-unknown"})
        assert other.is_error
        assert text(one) == text(other)


@pytest.mark.parametrize(
    "arguments",
    [{"number": -1}, {"number": True}, {"number": 1.5}, {"max_side": 63}, {"max_side": 2049}, {"max_side": "large"}],
)
async def test_arguments_that_make_no_sense_are_refused_with_a_message(arguments: dict[str, Any]) -> None:
    async with serve_sandbox(QUICK) as sandbox, client_at(sandbox.url) as client:
        result = await client.call_tool("view_image", {"task_id": "ta-1", **arguments})
        assert result.is_error
        assert next(iter(arguments)) in text(result)
        assert sandbox.stats.queries == 0


async def test_null_stands_for_an_argument_that_is_left_out() -> None:
    async with serve_sandbox(QUICK) as sandbox:
        result = await looked(sandbox, number=None, max_side=None)
        assert len(images(result)) == 1


async def test_all_readers_of_an_image_share_one_download() -> None:
    async with serve_sandbox(QUICK) as sandbox, client_at(sandbox.url) as client:
        task_id = await made(client)
        await client.call_tool("view_image", {"task_id": task_id})
        await client.read_resource(f"nanobanana://tasks/{task_id}/images/0")
        url = facts(await client.call_tool("get_task", {"task_id": task_id}))["images"][0]["url"]
        await client.read_resource(url)
        assert sandbox.stats.files == 1


async def test_a_cached_image_outlives_its_url_and_the_server() -> None:
    async with serve_sandbox(QUICK) as sandbox, client_at(sandbox.url) as client:
        task_id = await made(client)
        await client.call_tool("view_image", {"task_id": task_id})
    async with client_at(sandbox.url) as client:  # the sandbox has ended
        assert len(images(await client.call_tool("view_image", {"task_id": task_id}))) == 1


async def test_once_an_image_was_seen_its_type_is_that_of_its_bytes() -> None:
    async with serve_sandbox(QUICK) as sandbox, client_at(sandbox.url) as client:
        task_id = await made(client, "sandbox:picture=mislabelled")
        await client.call_tool("view_image", {"task_id": task_id})
        result = await client.call_tool("get_task", {"task_id": task_id})
        [image] = facts(result)["images"]
        assert image["url"].endswith(".png")
        assert image["mime_type"] == "image/jpeg"
        listed = {one.uri: one.mime_type for one in (await client.list_resources()).resources}
        assert listed[image["url"]] == "image/jpeg"
