"""Finished images are saved, and the result has their paths."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.types import BlobResourceContents
from PIL import Image, ImageChops

from nano_banana_mcp.app import Timing, build_server
from nano_banana_mcp.generations.quotas import Callers
from nano_banana_mcp.settings import load_settings
from nano_banana_sandbox.sandbox import Sandbox
from nano_banana_sandbox.server import serve_sandbox
from nano_banana_tools.server import ImageServer
from tests.support.clients import KEY, WITHOUT_PAUSES, facts, text
from tests.support.sandbox import plain_config

QUICK = plain_config(seconds=0.0)


PATIENT = Timing(export_retries=(0.01, 0.01, 0.01), max_export=120.0, closing=60.0)
"""Retries at once, and waits for what is saved as long as a busy machine needs."""


def server_at(
    url: str, *, local: bool = True, callers: Callers | None = None, timing: Timing = PATIENT, **settings: Any
) -> ImageServer:
    """A server that talks to the API at ``url`` without pauses."""
    values = load_settings(base_url=url, api_key=KEY, **settings)
    return build_server(values, callers=callers, local=local, schedule=WITHOUT_PAUSES, timing=timing)


@asynccontextmanager
async def sandbox_and_client(folder: Path | None, **options: Any) -> AsyncIterator[tuple[Sandbox, Client]]:
    """A sandbox, and a client of a server on it that saves into ``folder``."""
    async with (
        serve_sandbox(QUICK) as sandbox,
        Client(server_at(sandbox.url, output_dir=folder, **options)) as client,
    ):
        yield sandbox, client


async def made(client: Client, prompt: str, tool: str = "generate_image") -> Any:
    """A finished result of one of the three tools."""
    if tool == "generate_image":
        return await client.call_tool("generate_image", {"prompt": prompt, "wait_seconds": 240})
    task_id = facts(await client.call_tool("generate_image", {"prompt": prompt}))["task_id"]
    return await client.call_tool(tool, {"task_id": task_id})


def images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix != ".jsonl")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "pictures.jsonl").read_text(encoding="utf-8").splitlines()]


def same_pixels(one: bytes, other: bytes) -> bool:
    with Image.open(io.BytesIO(one)) as first, Image.open(io.BytesIO(other)) as second:
        return first.mode == second.mode and ImageChops.difference(first, second).getbbox() is None


@pytest.mark.parametrize("tool", ["generate_image", "wait_for_image", "get_task"])
async def test_whichever_call_sees_the_end_saves_the_image_and_text_and_structure_have_its_path(
    tool: str, tmp_path: Path
) -> None:
    async with sandbox_and_client(tmp_path / "kept") as (_, client):
        result = await made(client, "새벽의 등대", tool)
        [path] = images(tmp_path / "kept")
        assert facts(result)["message"] == f"Saved as {path}."
        assert f"Saved as {path}." in text(result)
        assert "새벽의-등대" in path.name
        assert facts(result)["task_id"] in path.name
        contents = (await client.read_resource(facts(result)["images"][0]["resource_uri"])).contents[0]
        assert isinstance(contents, BlobResourceContents)
        assert same_pixels(path.read_bytes(), base64.b64decode(contents.blob))
        [line] = lines(tmp_path / "kept")
        assert line["prompt"] == "새벽의 등대"
        assert line["url"] == facts(result)["images"][0]["url"]
        assert line["credits"] == "0.500000"


@pytest.mark.parametrize(
    ("words", "extensions"),
    [
        ("sandbox:result=many", [".png"] * 4),
        ("sandbox:result=data-uri", [".png"]),
        ("sandbox:picture=mislabelled", [".jpg"]),
        ("sandbox:picture=jpeg", [".jpg"]),
        ("sandbox:picture=webp", [".webp"]),
    ],
)
async def test_every_kind_of_image_is_saved_under_the_extension_of_its_bytes(
    words: str, extensions: list[str], tmp_path: Path
) -> None:
    async with sandbox_and_client(tmp_path) as (_, client):
        result = await made(client, f"cats {words}")
        saved = images(tmp_path)
        assert [path.suffix for path in saved] == extensions
        assert facts(result)["saved_paths"] == [str(path) for path in saved]
        assert f"Saved as {', '.join(map(str, saved))}." in text(result)
        assert len(lines(tmp_path)) == len(saved)


@pytest.mark.parametrize("words", ["result=text", "result=empty", "result=failed"])
async def test_without_an_image_nothing_is_saved_or_reported(words: str, tmp_path: Path) -> None:
    async with sandbox_and_client(tmp_path) as (_, client):
        result = await made(client, f"a cat sandbox:{words}")
        assert "aved" not in text(result)
        assert list(tmp_path.iterdir()) == []


async def test_without_a_folder_nothing_is_saved_or_fetched() -> None:
    async with sandbox_and_client(None) as (sandbox, client):
        result = await made(client, "a cat")
        assert facts(result)["message"] is None
        assert sandbox.stats.files == 0


async def test_twenty_waits_and_later_queries_fetch_and_save_an_image_once(tmp_path: Path) -> None:
    async with sandbox_and_client(tmp_path) as (sandbox, client):
        task_id = facts(await client.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
        messages = []

        async def wait() -> None:
            messages.append(facts(await client.call_tool("wait_for_image", {"task_id": task_id}))["message"])

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(wait)
        messages.append(facts(await client.call_tool("get_task", {"task_id": task_id}))["message"])
        [path] = images(tmp_path)
        assert set(messages) == {f"Saved as {path}."}
        assert sandbox.stats.files == 1
        assert len(lines(tmp_path)) == 1


@pytest.mark.parametrize("tool", ["generate_image", "wait_for_image", "get_task"])
async def test_the_type_of_a_saved_image_is_that_of_its_bytes_whatever_its_url(tool: str, tmp_path: Path) -> None:
    async with sandbox_and_client(tmp_path) as (_, client):
        result = await made(client, "a cat sandbox:picture=mislabelled", tool)
        [image], [link] = facts(result)["images"], result.content[1:]
        assert image["url"].endswith(".png")
        assert (image["mime_type"], link.mime_type, Path(link.name).suffix) == ("image/jpeg", "image/jpeg", ".jpg")


async def test_the_type_of_a_saved_image_is_known_after_a_restart(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"state_dir": tmp_path / "state", "output_dir": tmp_path / "kept"}
    async with serve_sandbox(QUICK) as sandbox:
        async with Client(server_at(sandbox.url, **settings)) as client:
            task_id = facts(await made(client, "a cat sandbox:picture=mislabelled"))["task_id"]
        async with Client(server_at(sandbox.url, **settings)) as client:
            again = await client.call_tool("get_task", {"task_id": task_id})
            assert facts(again)["images"][0]["mime_type"] == "image/jpeg"
        assert sandbox.stats.files == 1


async def test_where_a_web_page_came_in_place_of_the_image_no_image_is_promised(tmp_path: Path) -> None:
    async with sandbox_and_client(tmp_path) as (_, client):
        message = facts(await made(client, "a cat sandbox:file=html"))["message"]
        assert "holds a web page (HTML), not a picture. The URL did not return an image" in message
        assert "not lost" not in message


async def test_an_unwritable_folder_is_a_warning_and_the_image_is_returned(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.write_text("a file in its place")
    async with sandbox_and_client(folder) as (_, client):
        result = await made(client, "a cat")
        assert not result.is_error
        assert facts(result)["status"] == "success"
        assert f"Not saved: {folder}: Not a directory." in facts(result)["message"]
        assert "not lost" in text(result)
        assert facts(result)["images"][0]["url"] in text(result)
        folder.unlink()  # mended: the next call saves it
        again = await client.call_tool("get_task", {"task_id": facts(result)["task_id"]})
        assert facts(again)["message"] == f"Saved as {images(folder)[0]}."


async def test_a_folder_whose_disk_vanished_while_the_server_runs_is_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "disk" / "kept"
    folder.parent.mkdir()
    async with sandbox_and_client(folder) as (_, client):
        await made(client, "a cat")
        folder.parent.rename(tmp_path / "elsewhere")
        result = await made(client, "another cat")
        assert not result.is_error
        assert "Not saved" in facts(result)["message"]
        assert not folder.parent.exists()


@pytest.mark.parametrize("fault", ["404", "html"])
async def test_a_host_that_does_not_hand_it_over_is_a_warning(fault: str, tmp_path: Path) -> None:
    async with sandbox_and_client(tmp_path) as (_, client):
        result = await made(client, f"a cat sandbox:file={fault}")
        assert not result.is_error
        assert "Not saved" in facts(result)["message"]
        assert facts(result)["images"][0]["url"]
        assert list(tmp_path.iterdir()) == []


async def test_a_host_that_fails_at_first_is_asked_again(tmp_path: Path) -> None:
    async with sandbox_and_client(tmp_path) as (sandbox, client):
        result = await made(client, "a cat sandbox:file=404*2")
        assert facts(result)["message"] == f"Saved as {images(tmp_path)[0]}."
        assert sandbox.stats.files == 3


async def test_a_slow_host_does_not_hold_the_answer_for_long(tmp_path: Path) -> None:
    async with sandbox_and_client(tmp_path, timing=Timing(max_export=0.1, closing=0.1)) as (_, client):
        with anyio.fail_after(60):
            result = await made(client, "a cat sandbox:file=hang")
        assert facts(result)["status"] == "success"
        assert "Still being saved" in facts(result)["message"]
        assert facts(result)["images"][0]["url"] in text(result)


async def make_and_leave(sandbox: Sandbox, client: Client) -> None:
    """Wait for an image, and leave while it is downloaded."""
    task_id = facts(await client.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
    async with anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "wait_for_image", {"task_id": task_id})
        with anyio.fail_after(60):
            await sandbox.until(lambda stats: stats.files >= 1)
        group.cancel_scope.cancel()


async def test_a_caller_who_goes_does_not_stop_the_saving(tmp_path: Path) -> None:
    async with serve_sandbox(QUICK) as sandbox:
        server = server_at(sandbox.url, output_dir=tmp_path)
        async with Client(server) as client:
            await make_and_leave(sandbox, client)
            with anyio.fail_after(60):
                await server.wait_until_settled()
            assert len(images(tmp_path)) == 1
    assert sandbox.stats.files == 1


async def test_a_server_that_ends_first_finishes_what_it_saves(tmp_path: Path) -> None:
    async with serve_sandbox(QUICK) as sandbox:
        server = server_at(sandbox.url, output_dir=tmp_path)
        async with Client(server) as client:
            await make_and_leave(sandbox, client)
        assert len(images(tmp_path)) == 1


@pytest.mark.parametrize("words", ["", "sandbox:result=many", "sandbox:result=mixed"])
@pytest.mark.parametrize("depth", [1, 6, 16])
async def test_a_path_is_never_cut_however_long_it_is(words: str, depth: int, tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["어딘가 깊은 곳"] * depth)
    folder.mkdir(parents=True)
    async with sandbox_and_client(folder) as (_, client):
        result = await made(client, f"{'등대' * 400} {words}")
        first = str(images(folder)[0])
        assert first in text(result)
        assert first in facts(result)["message"]


async def test_a_folder_name_that_is_no_utf_8_is_reported_in_characters_that_can_be_sent(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9"))
    async with sandbox_and_client(folder) as (_, client):
        result = await made(client, "a cat")
        assert "/caf\ufffd/" in facts(result)["message"]
        assert len(images(folder)) == 1


@pytest.mark.parametrize("others", ["asked", "proxied", "public"])
@pytest.mark.parametrize("broken", [False, True])
async def test_remote_callers_do_not_see_the_path_of_the_servers_folder(
    others: str, broken: bool, tmp_path: Path
) -> None:
    accounts = Callers(authenticated=True) if others == "asked" else None
    settings: dict[str, Any] = {
        "asked": {},
        "proxied": {"allowed_hosts": "pictures.example.org"},
        "public": {"public_url": "https://pictures.example.org"},
    }[others]
    folder = tmp_path / "kept"
    if broken:
        folder.write_text("")
    async with sandbox_and_client(folder, local=False, callers=accounts, **settings) as (_, client):
        result = await made(client, "a cat")
        message = "Not saved: its folder cannot be written to." if broken else "Saved by the server."
        assert message in facts(result)["message"]
        assert message in text(result)
        assert str(tmp_path) not in result.model_dump_json()


async def test_a_server_for_this_machine_alone_reports_the_path_over_http_too(tmp_path: Path) -> None:
    async with sandbox_and_client(tmp_path, local=False) as (_, client):
        assert f"Saved as {tmp_path}" in text(await made(client, "a cat"))


async def test_a_file_has_the_requested_name_whichever_call_sees_the_end(tmp_path: Path) -> None:
    async with sandbox_and_client(tmp_path) as (_, client):
        arguments = {"prompt": "a cat sandbox:picture=jpeg", "save_as": " 고양이.png "}
        started = facts(await client.call_tool("generate_image", arguments))
        assert started["saved_paths"] == []
        result = await client.call_tool("wait_for_image", {"task_id": started["task_id"]})
        assert facts(result)["saved_paths"] == [str(tmp_path / "고양이.jpg")]
        assert f"Saved as {tmp_path / '고양이.jpg'}." in text(result)
        assert images(tmp_path) == [tmp_path / "고양이.jpg"]


async def test_a_batch_numbers_its_files(tmp_path: Path) -> None:
    async with sandbox_and_client(tmp_path) as (_, client):
        arguments = {"prompt": "a cat", "save_as": "cat", "count": 3, "wait_seconds": 30}
        result = await client.call_tool("generate_image", arguments)
        assert sorted(facts(result)["saved_paths"]) == [str(tmp_path / f"cat-{number}.png") for number in (1, 2, 3)]


async def test_nothing_is_overwritten_by_a_name_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"mine")
    async with sandbox_and_client(tmp_path) as (_, client):
        arguments = {"prompt": "a cat", "save_as": "cat", "wait_seconds": 30}
        result = await client.call_tool("generate_image", arguments)
        assert facts(result)["saved_paths"] == [str(tmp_path / "cat (2).png")]
        assert (tmp_path / "cat.png").read_bytes() == b"mine"


async def test_a_file_of_a_chosen_name_can_be_edited_by_its_path(tmp_path: Path) -> None:
    async with sandbox_and_client(tmp_path) as (sandbox, client):
        first = await client.call_tool("generate_image", {"prompt": "a cat", "save_as": "cat", "wait_seconds": 30})
        [path] = facts(first)["saved_paths"]
        edit = await client.call_tool("generate_image", {"prompt": "add a hat", "images": [path], "wait_seconds": 30})
        assert facts(edit)["status"] == "success", text(edit)
        assert sandbox.stats.submits == 2


async def test_a_later_process_knows_the_chosen_name(tmp_path: Path) -> None:
    async with serve_sandbox(QUICK) as sandbox:
        async with Client(server_at(sandbox.url, output_dir=tmp_path / "out", state_dir=tmp_path)) as client:
            submitted = await client.call_tool("generate_image", {"prompt": "a cat", "save_as": "cat"})
        async with Client(server_at(sandbox.url, output_dir=tmp_path / "out", state_dir=tmp_path)) as client:
            result = await client.call_tool("wait_for_image", {"task_id": facts(submitted)["task_id"]})
        assert facts(result)["saved_paths"] == [str(tmp_path / "out" / "cat.png")]
        assert images(tmp_path / "out") == [tmp_path / "out" / "cat.png"]


async def test_over_http_a_name_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async with sandbox_and_client(tmp_path, local=False) as (sandbox, client):
        result = await client.call_tool("generate_image", {"prompt": "a cat", "save_as": "cat"})
        assert result.is_error
        assert "over stdio" in text(result)
        assert "nothing was charged" in text(result)
        assert sandbox.stats.submits == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../cat.png", "without folders"),
        ("/tmp/cat.png", "without folders"),
        ("a\\b", "without folders"),
        ("con.png", "reserved"),
        (".hidden", "hidden"),
        ("cat. ", "reserved"),
        (".png", "hidden"),
        ("c" * 130, "longer"),
        ("a\nb", "without folders"),
    ],
)
async def test_a_name_that_is_no_plain_file_name_is_refused_before_anything_is_sent(
    name: str, reason: str, tmp_path: Path
) -> None:
    async with sandbox_and_client(tmp_path) as (sandbox, client):
        result = await client.call_tool("generate_image", {"prompt": "a cat", "save_as": name})
        assert result.is_error
        assert reason in text(result)
        assert "nothing was charged" in text(result)
        assert sandbox.stats.submits == 0


async def test_a_name_without_an_output_folder_is_refused_before_anything_is_sent() -> None:
    async with sandbox_and_client(None) as (sandbox, client):
        result = await client.call_tool("generate_image", {"prompt": "a cat", "save_as": "cat"})
        assert result.is_error
        assert "NANO_BANANA_OUTPUT_DIR" in text(result)
        assert "nothing was charged" in text(result)
        assert sandbox.stats.submits == 0
