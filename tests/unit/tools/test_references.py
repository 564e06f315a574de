"""Reference images from disk, and images made before."""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.types import BlobResourceContents
from PIL import Image

from nano_banana_mcp.app import build_server
from nano_banana_mcp.settings import load_settings
from nano_banana_sandbox import tasks
from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.sandbox import Sandbox
from nano_banana_sandbox.server import serve_sandbox
from tests.support.clients import KEY, WITHOUT_PAUSES, facts, text
from tests.support.sandbox import plain_config

QUICK = plain_config(seconds=0.0)


@pytest.fixture(autouse=True)
def whole_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox remembers references as they were sent, however long."""
    monkeypatch.setattr(tasks, "_MAX_INLINE_LETTERS", 100_000_000)


@asynccontextmanager
async def sandbox_and_client(
    *, local: bool = True, config: SandboxConfig = QUICK, **settings: Any
) -> AsyncIterator[tuple[Sandbox, Client]]:
    """A sandbox, and a client of a server on it that is on this machine or is not."""
    async with serve_sandbox(config) as sandbox:
        values: dict[str, Any] = {"base_url": sandbox.url, "api_key": KEY, **settings}
        async with Client(build_server(load_settings(**values), local=local, schedule=WITHOUT_PAUSES)) as client:
            yield sandbox, client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    allowed = tmp_path / "my pictures"
    allowed.mkdir()
    Image.new("RGB", (300, 200), "red").save(allowed / "cat.png")
    Image.new("RGB", (3000, 1000), "blue").save(allowed / "wide.jpg")
    (allowed / "note.png").write_text("dear diary")
    Image.new("RGB", (9, 9)).save(tmp_path / "outside.png")
    return allowed


def sent(sandbox: Sandbox, task: int = -1) -> list[bytes]:
    """The bytes of the references that the API was sent."""
    images = sandbox.tasks[task].order.request["images"]
    return [base64.b64decode(uri.partition(";base64,")[2]) for uri in images]


@pytest.mark.parametrize("spelling", ["{}/cat.png", "file://{}/cat.png"])
async def test_an_image_in_an_allowed_folder_is_sent_with_its_bytes(folder: Path, spelling: str) -> None:
    async with sandbox_and_client(input_dirs=f"/nowhere{os.pathsep}{folder}") as (sandbox, client):
        reference = spelling.format(str(folder).replace(" ", "%20") if "file" in spelling else folder)
        result = await client.call_tool("generate_image", {"prompt": "now at night", "images": [reference]})
        assert not result.is_error, text(result)
        assert sent(sandbox) == [(folder / "cat.png").read_bytes()]


async def test_a_large_image_is_shrunk_before_it_is_sent(folder: Path) -> None:
    async with sandbox_and_client(input_dirs=str(folder), reference_max_side=600) as (sandbox, client):
        await client.call_tool("generate_image", {"prompt": "x", "images": str(folder / "wide.jpg")})
        with Image.open(io.BytesIO(sent(sandbox)[0])) as small:
            assert small.size == (600, 200)


@pytest.mark.parametrize("name", ["../outside.png", "none.png", "note.png", "sub/", ""])
async def test_a_path_that_may_not_be_read_is_refused_with_a_message_and_nothing_is_sent(
    folder: Path, name: str
) -> None:
    async with sandbox_and_client(input_dirs=str(folder)) as (sandbox, client):
        result = await client.call_tool("generate_image", {"prompt": "x", "images": [f"{folder}/{name}"]})
        assert result.is_error
        assert text(result).startswith("images: ")
        assert "Nothing was sent" in text(result)
        assert sandbox.stats.submits == 0


async def test_where_nothing_is_allowed_the_words_say_how_to_allow_it(folder: Path) -> None:
    async with sandbox_and_client() as (_, client):
        result = await client.call_tool("generate_image", {"prompt": "x", "images": [f"{folder}/cat.png"]})
        assert result.is_error
        assert "NANO_BANANA_INPUT_DIRS=~/Pictures" in text(result)


_events: list[tuple[str, str]] = []
_listening = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _listening and event in ("open", "os.scandir", "os.listdir") and arguments:
        _events.append((event, str(arguments[0])))


async def test_a_server_that_is_not_local_refuses_paths_without_touching_the_disk(folder: Path) -> None:
    """An audit hook of Python sees every file that is opened in this process."""
    global _listening  # noqa: PLW0603 - a hook cannot be taken away again
    sys.addaudithook(_hook)
    words = set()
    async with sandbox_and_client(local=False, input_dirs=str(folder)) as (sandbox, client):
        for reference in (
            f"{folder}/cat.png",
            f"{folder}/none.png",
            f"file://{folder}/cat.png",
            "/etc/passwd",
            "~/cat.png",
            "C:\\cat.png",
            "\\\\host\\share\\cat.png",
            "../cat.png",
        ):
            _listening = True
            result = await client.call_tool("generate_image", {"prompt": "x", "images": [reference]})
            _listening = False
            assert result.is_error
            words.add(text(result))
        assert sandbox.stats.submits == 0
    assert len(words) == 1
    assert "does not read files by path" in words.pop()
    assert not [event for event in _events if "cat.png" in event[1] or "passwd" in event[1] or str(folder) in event[1]]
    _listening = True
    (folder / "cat.png").read_bytes()
    _listening = False
    assert any("cat.png" in path for _, path in _events)  # the hook does see what is opened


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("words", ["", "sandbox:result=data-uri", "sandbox:result=many"])
async def test_an_image_made_before_is_a_reference_by_its_resource_uri(local: bool, words: str) -> None:
    async with sandbox_and_client(local=local) as (sandbox, client):
        made = await client.call_tool("generate_image", {"prompt": f"a cat {words}", "wait_seconds": 240})
        uri = facts(made)["images"][-1]["resource_uri"]
        result = await client.call_tool("generate_image", {"prompt": "now make it night", "images": [uri]})
        assert not result.is_error, text(result)
        contents = (await client.read_resource(uri)).contents[0]
        assert isinstance(contents, BlobResourceContents)
        assert sent(sandbox) == [base64.b64decode(contents.blob)]


async def test_an_image_with_a_dead_url_is_a_reference_if_it_was_stored(tmp_path: Path) -> None:
    """The host hands it out once, to be saved, and never again."""
    async with sandbox_and_client(output_dir=tmp_path / "kept") as (sandbox, client):
        made = await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
        files = sandbox.stats.files
        uri = facts(made)["images"][0]["resource_uri"]
        result = await client.call_tool("generate_image", {"prompt": "now make it night", "images": [uri]})
        assert not result.is_error, text(result)
        assert sandbox.stats.files == files
        [saved] = (tmp_path / "kept").glob("*.png")
        with Image.open(saved) as whole, Image.open(io.BytesIO(sent(sandbox)[0])) as bare:
            assert "a cat" in whole.info["Description"]
            assert bare.info == {}
            assert bare.tobytes() == whole.tobytes()


async def test_a_file_that_this_server_saved_is_a_reference_by_its_path_and_its_neighbours_are_not(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "kept"
    async with sandbox_and_client(output_dir=folder) as (_, client):
        made = await client.call_tool("generate_image", {"prompt": "고양이", "wait_seconds": 240})
        [saved] = folder.glob("*.png")
        assert str(saved) in facts(made)["message"]
        again = await client.call_tool("generate_image", {"prompt": "at night", "images": [str(saved)]})
        assert not again.is_error, text(again)
        Image.new("RGB", (9, 9)).save(folder / "private.png")
        refused = await client.call_tool("generate_image", {"prompt": "x", "images": [str(folder / "private.png")]})
        assert refused.is_error
        assert "Nothing was sent" in text(refused)


async def test_several_references_in_one_text_and_in_objects_are_split() -> None:
    async with sandbox_and_client() as (sandbox, client):
        urls = [f"https://example.com/{name}.png" for name in "abc"]
        images = [f"{urls[0]}, {urls[1]}", {"image_url": {"url": urls[2]}}]
        result = await client.call_tool("generate_image", {"prompt": "x", "images": images})
        assert not result.is_error, text(result)
        assert sandbox.tasks[-1].order.request["images"] == urls
        one = "https://example.com/w_100,h_50/a.png"
        await client.call_tool("generate_image", {"prompt": "x", "images": one})
        assert sandbox.tasks[-1].order.request["images"] == [one]


async def test_an_image_of_the_sandbox_itself_is_a_reference_by_its_url() -> None:
    async with sandbox_and_client() as (sandbox, client):
        made = await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
        url = facts(made)["images"][0]["url"]
        result = await client.call_tool("generate_image", {"prompt": "x", "images": [url]})
        assert not result.is_error, text(result)
        assert sandbox.tasks[-1].order.request["images"] == [url]


@pytest.mark.parametrize(("fault", "expected"), [("404", "images: "), ("html", "web page")])
async def test_a_reference_whose_bytes_are_unavailable_costs_nothing(fault: str, expected: str) -> None:
    async with sandbox_and_client() as (sandbox, client):
        made = await client.call_tool("generate_image", {"prompt": f"a cat sandbox:file={fault}", "wait_seconds": 240})
        uri = facts(made)["images"][0]["resource_uri"]
        result = await client.call_tool("generate_image", {"prompt": "now make it night", "images": [uri]})
        assert result.is_error
        assert expected in text(result)
        assert sandbox.stats.submits == 1


async def test_a_host_that_refuses_this_server_may_not_refuse_the_api() -> None:
    async with sandbox_and_client() as (sandbox, client):
        made = await client.call_tool("generate_image", {"prompt": "a cat sandbox:file=403", "wait_seconds": 240})
        image = facts(made)["images"][0]
        await client.call_tool("generate_image", {"prompt": "night", "images": [image["resource_uri"]]})
        assert sandbox.tasks[-1].order.request["images"] == [image["url"]]


async def test_a_missing_image_is_refused_with_a_message() -> None:
    async with sandbox_and_client(config=plain_config(seconds=3600)) as (sandbox, client):
        made = await client.call_tool("generate_image", {"prompt": "a cat"})
        task_id = facts(made)["task_id"]
        for uri, expected in (
            (f"nanobanana://tasks/{task_id}/images/0", "not finished"),
            ("nanobanana://tasks/ta-unknown/images/0", "You have no image with this resource URI"),
        ):
            result = await client.call_tool("generate_image", {"prompt": "x", "images": [uri]})
            assert result.is_error
            assert expected in text(result)
        assert sandbox.stats.submits == 1


@pytest.mark.parametrize("number", [1, 7, 999])
async def test_an_image_number_that_a_task_lacks_is_refused_with_a_message(number: int) -> None:
    async with sandbox_and_client() as (_, client):
        made = await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
        uri = f"nanobanana://tasks/{facts(made)['task_id']}/images/{number}"
        result = await client.call_tool("generate_image", {"prompt": "x", "images": [uri]})
        assert result.is_error
        assert "You have no image with this resource URI" in text(result)


async def test_the_same_request_id_with_the_same_path_is_the_same_task_whatever_became_of_the_file(
    folder: Path,
) -> None:
    arguments = {"prompt": "x", "images": [str(folder / "cat.png")], "request_id": "once"}
    async with sandbox_and_client(input_dirs=str(folder)) as (sandbox, client):
        first = facts(await client.call_tool("generate_image", arguments))["task_id"]
        (folder / "cat.png").unlink()
        again = await client.call_tool("generate_image", arguments)
        assert facts(again)["task_id"] == first
        other = await client.call_tool("generate_image", {**arguments, "images": [str(folder / "wide.jpg")]})
        assert other.is_error
        assert "was already used with other arguments" in text(other)
        assert sandbox.stats.submits == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"aspect_ratio": "16:9", "image_size": "4k"}, "Requested 16:9 4k, got 1024×1024."),
        ({"image_size": "0.5k", "model": "google/nano-banana-2", "prompt": "x sandbox:result=data-uri"},
         "Requested 0.5k, got 512×512."),
        ({"aspect_ratio": "4:1", "model": "google/nano-banana"}, "Requested 4:1, got 1024×256."),
        ({"image_size": 512}, "Requested 512, got 1024×1024."),
    ],
)  # fmt: skip
async def test_requested_and_received_sizes_are_in_every_result(arguments: dict[str, Any], words: str) -> None:
    async with sandbox_and_client() as (_, client):
        made = await client.call_tool("generate_image", {"prompt": "a hill", "wait_seconds": 240, **arguments})
        again = await client.call_tool("get_task", {"task_id": facts(made)["task_id"]})
        waited = await client.call_tool("wait_for_image", {"task_id": facts(made)["task_id"]})
        for result in (made, again, waited):
            assert words in facts(result)["message"]
            assert words in text(result)


async def test_the_answer_to_a_submit_has_the_requested_size() -> None:
    async with sandbox_and_client() as (_, client):
        started = await client.call_tool("generate_image", {"prompt": "a hill", "image_size": "2k"})
        assert "Requested 2k." in facts(started)["message"]
