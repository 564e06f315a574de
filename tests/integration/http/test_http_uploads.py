"""Uploads over HTTP: the public address, tokens, other callers, other replicas, other sites."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp.types import BlobResourceContents

from nano_banana_mcp.upload_page.endpoint import MAX_BODY_BYTES
from tests.support.clients import facts, text
from tests.support.http_server import at, free_port, served
from tests.support.image_samples import drawn
from tests.support.sandbox import plain_config, plain_sandbox
from tests.support.team import client_with
from tests.support.two_callers import ERAS, shared
from tests.support.uploads import check_upright, get, photo, post


async def ask(client: Client, **arguments: Any) -> dict[str, Any]:
    return facts(await client.call_tool("add_reference", arguments))


@pytest.mark.parametrize("era", ERAS)
async def test_a_photo_is_uploaded_without_a_token_and_belongs_to_its_caller(era: Any, tmp_path: Path) -> None:
    async with (
        shared(tmp_path, plain_config(seconds=0.0)) as server,
        server.caller("alice", era) as alice,
        server.caller("bob", era) as bob,
    ):
        first_answer = await ask(alice, purpose="a portrait")
        assert (await get(first_answer["upload_url"])).status_code == 200
        reference = (await post(first_answer["upload_url"], photo((2400, 1800)))).json()
        assert (await ask(alice, upload_id=first_answer["upload_id"]))["references"] == [reference]
        uri = reference["resource_uri"]
        [contents] = (await alice.read_resource(uri)).contents
        assert isinstance(contents, BlobResourceContents)
        assert check_upright(base64.b64decode(contents.blob)) == (1536, 2048)
        made = await alice.call_tool("generate_image", {"prompt": "x", "images": [uri], "wait_seconds": 240})
        assert facts(made)["status"] == "success"

        theirs = await bob.call_tool("add_reference", {"upload_id": first_answer["upload_id"]})
        missing = await bob.call_tool("add_reference", {"upload_id": "up-" + "0" * 24})
        assert theirs.is_error
        assert text(theirs) == text(missing)
        for stolen in (uri, f"nanobanana://uploads/{first_answer['upload_id']}"):
            with pytest.raises(MCPError, match="not found"):
                await bob.read_resource(stolen)
        refused = await bob.call_tool("generate_image", {"prompt": "x", "images": [uri]})
        assert refused.is_error
        piece = {"upload_id": (await ask(alice))["upload_id"], "data": base64.b64encode(drawn("PNG")).decode()}
        assert (await bob.call_tool("upload_image", piece)).is_error
        assert not (await alice.call_tool("upload_image", piece)).is_error


async def test_the_page_is_below_the_public_url_whatever_the_host_header_says() -> None:
    port = free_port()
    async with (
        plain_sandbox(seconds=0) as sandbox,
        served("--port", str(port), **at(sandbox.url, NANO_BANANA_PUBLIC_URL="https://images.example")) as server,
        Client(server.url) as client,
    ):
        url = (await ask(client))["upload_url"]
        assert url.startswith("https://images.example/references/")
        here = url.replace("https://images.example", server.root)
        for headers in (
            {"Host": "evil.example"},
            {"Origin": "https://evil.example"},
            {"Host": "images.example", "Origin": "https://images.example.evil.example"},
        ):
            assert (await post(here, drawn("PNG"), **headers)).status_code == 403
        taken = await post(here, drawn("PNG"), Host="images.example", Origin="https://images.example")
        assert taken.status_code == 200
        assert (await post(here, drawn("PNG"))).status_code == 404


async def test_a_replica_takes_an_upload_that_another_asked_for(database: str) -> None:
    async with plain_sandbox(seconds=0) as sandbox:
        values = at(sandbox.url, NANO_BANANA_LEDGER_URL=database)
        async with served(**values) as one, served(**values) as two, Client(one.url) as first, Client(two.url) as other:
            first_answer = await ask(first)

            async def upload() -> None:
                other_url = first_answer["upload_url"].replace(one.root, two.root)
                assert (await post(other_url, photo())).status_code == 200

            with anyio.fail_after(120):
                async with anyio.create_task_group() as people:
                    people.start_soon(upload)
                    answer = await ask(first, upload_id=first_answer["upload_id"], wait_seconds=100)
            [reference] = answer["references"]
            for client in (first, other):
                [contents] = (await client.read_resource(reference["resource_uri"])).contents
                assert isinstance(contents, BlobResourceContents)
                assert check_upright(base64.b64decode(contents.blob)) == (900, 1200)


async def test_five_thousand_uploads_of_one_caller_do_not_get_in(tmp_path: Path) -> None:
    async with (
        shared(tmp_path, plain_config(seconds=0.0), NANO_BANANA_UPLOADS_PER_DAY="3") as server,
        server.caller("alice") as alice,
        server.caller("bob") as bob,
    ):
        url = (await ask(alice, count=4))["upload_url"]
        assert [(await post(url, drawn("PNG"))).status_code for _ in range(5)] == [200, 200, 200, 429, 429]
        assert (await alice.call_tool("add_reference", {})).is_error
        assert (await post((await ask(bob))["upload_url"], drawn("PNG"))).status_code == 200


async def test_a_body_without_a_length_is_bounded_too(tmp_path: Path) -> None:
    async with shared(tmp_path, plain_config(seconds=0.0)) as server, server.caller("alice") as alice:
        url = (await ask(alice))["upload_url"]
        head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'

        async def chunks() -> Any:
            yield head
            for _ in range(MAX_BODY_BYTES // 1_000_000 + 2):
                yield bytes(1_000_000)

        async with httpx.AsyncClient(trust_env=False, timeout=60) as browser:
            answer = await browser.post(
                url, content=chunks(), headers={"Content-Type": "multipart/form-data; boundary=x"}
            )
        assert answer.status_code == 413


async def test_a_token_is_not_needed_and_not_enough(tmp_path: Path) -> None:
    async with (
        shared(tmp_path, plain_config(seconds=0.0)) as server,
        client_with(server.url, token=server.tokens["alice"]) as alice,
    ):
        url = (await ask(alice))["upload_url"]
        for stranger in (server.tokens["bob"], "no-such-token"):
            for answer in (
                await get(url, Authorization=f"Bearer {stranger}"),
                await post(url, drawn("PNG"), Authorization=f"Bearer {stranger}"),
            ):
                assert answer.status_code == 404
        assert (await get(url, Authorization=f"Bearer {server.tokens['alice']}")).status_code == 200
        wrong = f"{url[:-4]}AAAA"
        answer = await post(wrong, drawn("PNG"), Authorization=f"Bearer {server.tokens['alice']}")
        assert answer.status_code == 404
