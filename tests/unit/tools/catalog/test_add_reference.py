"""Images that people upload: the request, the checks, and the text for the model."""

from __future__ import annotations

import base64
import contextlib
import io
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp.client import Client
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp.types import BlobResourceContents, CallToolResult, ElicitRequestURLParams, ElicitResult
from PIL import Image

from nano_banana_mcp.app import build_server
from nano_banana_mcp.ledger.listing import FILE_NAME
from nano_banana_mcp.settings import load_settings
from nano_banana_mcp.upload_page import loopback
from nano_banana_sandbox import tasks
from nano_banana_sandbox.sandbox import Sandbox
from nano_banana_sandbox.server import serve_sandbox
from tests.support.clients import KEY, AppsHost, facts, text
from tests.support.image_samples import PNG, drawn, large_png
from tests.support.image_samples import png as claiming
from tests.support.sandbox import plain_config
from tests.support.subscribers import NotificationRecorder, subscribe
from tests.support.uploads import check_upright, get, photo, post, refusal

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def whole_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox remembers references as they were sent, however long."""
    monkeypatch.setattr(tasks, "_MAX_INLINE_LETTERS", 100_000_000)


@asynccontextmanager
async def sandbox_and_client(
    *, local: bool = True, client: Any = None, **settings: Any
) -> AsyncIterator[tuple[Sandbox, Client]]:
    """A sandbox, and a client of a server on it."""
    async with serve_sandbox(plain_config(seconds=0.0)) as sandbox:
        values: dict[str, Any] = {"base_url": sandbox.url, "api_key": KEY, **settings}
        async with Client(build_server(load_settings(**values), local=local), **(client or {})) as opened:
            yield sandbox, opened


async def ask(client: Client, **arguments: Any) -> dict[str, Any]:
    return facts(await client.call_tool("add_reference", arguments))


def expire(state: Path, upload_id: str) -> None:
    """End the time of a grant now."""
    with closing(sqlite3.connect(state / FILE_NAME)) as ledger, ledger:
        changed = ledger.execute("UPDATE upload_requests SET expires_at = created_at WHERE upload_id = ?", [upload_id])
        assert changed.rowcount == 1


async def read(client: Client, uri: str) -> bytes:
    [contents] = (await client.read_resource(uri)).contents
    assert isinstance(contents, BlobResourceContents)
    return base64.b64decode(contents.blob)


async def test_a_photo_arrives_upright_without_metadata_and_is_sent_as_a_reference() -> None:
    async with sandbox_and_client() as (sandbox, client):
        first_answer = await client.call_tool("add_reference", {"purpose": "your portrait"})
        answer = facts(first_answer)
        assert (answer["finished"], answer["references"]) == (False, [])
        assert answer["upload_url"] in text(first_answer)
        assert answer["upload_id"] in answer["next_step"]
        shown = await get(answer["upload_url"])
        assert (shown.status_code, "your portrait" in shown.text) == (200, True)
        assert "default-src 'none'" in shown.headers["content-security-policy"]
        posted = await post(answer["upload_url"], photo((4000, 3000)))
        assert posted.status_code == 200
        then = await ask(client, upload_id=answer["upload_id"])
        assert (then["finished"], then["references"], then["upload_url"]) == (True, [posted.json()], None)
        assert (posted.json()["width"], posted.json()["height"]) == (1536, 2048)
        uri = posted.json()["resource_uri"]
        assert check_upright(await read(client, uri)) == (1536, 2048)
        made = facts(await client.call_tool("generate_image", {"prompt": "x", "images": [uri], "wait_seconds": 20}))
        assert made["status"] == "success"
        [task] = sandbox.tasks
        [reference] = task.order.request["images"]
        assert check_upright(base64.b64decode(reference.partition(",")[2])) == (1536, 2048)


async def test_used_unknown_and_expired_grants_are_the_same_404(tmp_path: Path) -> None:
    async with sandbox_and_client(state_dir=tmp_path) as (_, client):
        used = (await ask(client))["upload_url"]
        assert (await post(used, PNG)).status_code == 200
        first_answer = await ask(client)
        expired = first_answer["upload_url"]
        expire(tmp_path, first_answer["upload_id"])
        unknown = f"{used}x"
        root = used.rpartition("/references/")[0]
        answers = {
            (answer.status_code, answer.text, tuple(sorted(answer.headers.items())))
            for url in (used, unknown, expired)
            for answer in (await get(url), await post(url, PNG))
        }
        assert len(answers) == 1
        assert next(iter(answers))[0] == 404
        pages = [await get(url, Accept="text/html,*/*;q=0.8") for url in (used, unknown, expired)]
        assert len({(page.status_code, page.text, tuple(sorted(page.headers.items()))) for page in pages}) == 1
        assert pages[0].status_code == 404
        assert "Add a picture" in pages[0].text
        then = await ask(client, upload_id=first_answer["upload_id"])
        assert (then["upload_url"], then["finished"], then["references"]) == (None, True, [])
        assert "without upload_id" in then["next_step"]
        piece = {"upload_id": first_answer["upload_id"], "data": base64.b64encode(drawn("PNG")).decode()}
        assert "has expired" in text(await client.call_tool("upload_image", piece))
        for path in ("/", "/references/", "/mcp", "/references/../mcp"):
            assert (await get(f"{root}{path}")).status_code == 404


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "an SVG drawing"),
        (b"<!doctype html><script>1</script>", 415, "a web page (HTML)"),
        (b"", 415, "holds nothing"),
        (PNG[:40], 415, "broken or cut off"),
        (claiming(20_000, 20_000), 413, "pixels"),
        (claiming(9_500, 9_500), 413, "pixels"),
        (large_png(21 * 1024 * 1024), 413, "20 MB"),
    ],
    ids=["svg", "html", "empty", "cut", "bomb", "smaller bomb", "bytes"],
)
async def test_a_file_that_cannot_be_a_reference_is_refused_with_the_reason_and_uses_no_grant(
    data: bytes, status: int, reason: str
) -> None:
    async with sandbox_and_client() as (_, client):
        url = (await ask(client))["upload_url"]
        code, message = refusal(await post(url, data))
        assert code == status
        assert reason in message
        assert (await post(url, drawn("PNG"))).status_code == 200


async def test_requests_of_other_sites_and_for_other_hosts_are_refused() -> None:
    async with sandbox_and_client() as (_, client):
        url = (await ask(client))["upload_url"]
        port = url.split("/")[2].rpartition(":")[2]
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": f"http://127.0.0.1:{int(port) ^ 1}"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Host": "evil.example"},
            {"Host": f"evil.example:{port}"},
            {"Host": "127.0.0.1"},
        ):
            assert (await post(url, PNG, **headers)).status_code == 403, headers
            if "Sec-Fetch-Site" not in headers:
                assert (await get(url, **headers)).status_code == 403, headers
        own = {"Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}
        assert (await post(url, drawn("PNG"), **own)).status_code == 200


async def test_a_form_without_the_field_and_a_body_that_is_no_form_are_refused() -> None:
    async with sandbox_and_client() as (_, client):
        url = (await ask(client))["upload_url"]
        assert (await post(url, PNG, field="file")).status_code == 400
        assert (await post(url, PNG, **{"Content-Type": "image/png"})).status_code == 415
        assert (await post(url, PNG, **{"Content-Type": "multipart/form-data"})).status_code == 400


async def test_uploads_beyond_the_days_limit_are_refused() -> None:
    async with sandbox_and_client(uploads_per_day=2) as (_, client):
        first = await ask(client, count=4)
        assert [(await post(first["upload_url"], drawn("PNG"))).status_code for _ in range(4)] == [200, 200, 429, 429]
        refused = await client.call_tool("add_reference", {})
        assert refused.is_error
        assert "2 uploads per day" in text(refused)


async def test_a_call_waits_for_the_person_and_not_longer() -> None:
    async with sandbox_and_client() as (_, client):
        first_answer = await ask(client)

        async def upload() -> None:
            assert (await post(first_answer["upload_url"], drawn("PNG"))).status_code == 200

        with anyio.fail_after(120):
            async with anyio.create_task_group() as people:
                people.start_soon(upload)
                answer = await ask(client, upload_id=first_answer["upload_id"], wait_seconds=100)
        assert answer["finished"]
        unfinished = await ask(client, wait_seconds=0.2)
        assert not unfinished["finished"]


async def test_while_a_call_waits_the_address_of_the_page_is_in_its_progress() -> None:
    urls: list[str] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        assert message is not None
        urls.append(message.partition(": ")[2])
        if len(urls) == 1:
            assert (progress, total) == (0.0, 100.0)
            assert (await post(urls[0], drawn("PNG"))).status_code == 200

    async with sandbox_and_client() as (_, client):
        called = await client.call_tool("add_reference", {"wait_seconds": 100}, progress_callback=on_progress)
        assert facts(called)["finished"]


@pytest.mark.parametrize("count", [1, 2])
async def test_an_upload_is_announced_to_streams_of_the_newer_era(count: int) -> None:
    """The last one and others."""
    async with sandbox_and_client() as (_, client):
        first_answer = await ask(client, count=count)
        uri = f"nanobanana://uploads/{first_answer['upload_id']}"
        async with client.listen(resource_subscriptions=[uri]) as updates:
            assert (await post(first_answer["upload_url"], drawn("PNG"))).status_code == 200
            with anyio.fail_after(60):
                assert await anext(aiter(updates)) == ResourceUpdated(uri=uri)


async def test_an_upload_is_announced_to_subscribers() -> None:
    notifications = NotificationRecorder()
    async with sandbox_and_client(client={"mode": "legacy", "message_handler": notifications}) as (_, client):
        first_answer = await ask(client)
        uri = f"nanobanana://uploads/{first_answer['upload_id']}"
        await subscribe(client, uri)
        assert (await post(first_answer["upload_url"], drawn("PNG"))).status_code == 200
        with anyio.fail_after(60):
            await notifications.until(uri)
        [contents] = (await client.read_resource(uri)).contents
        assert '"finished": true' in contents.text  # type: ignore[union-attr]  # it is JSON


async def test_the_loopback_server_ends_with_its_last_grant_and_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "LINGER_SECONDS", 0.05)
    monkeypatch.setattr(loopback, "CHECK_SECONDS", 0.05)
    async with sandbox_and_client() as (_, client):
        first = (await ask(client))["upload_url"]
        assert (await post(first, drawn("PNG"))).status_code == 200
        with anyio.fail_after(60), contextlib.suppress(httpx.TransportError):
            while (await get(first)).status_code == 404:
                pass
        second = (await ask(client))["upload_url"]
        assert (await post(second, drawn("PNG"))).status_code == 200


@pytest.mark.parametrize("action", ["accept", "decline"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_host_that_opens_urls_is_asked_to_open_the_page(mode: Any, action: Any) -> None:
    opened: list[str] = []

    async def elicit(_: Any, params: Any) -> ElicitResult:
        assert isinstance(params, ElicitRequestURLParams)
        assert "a portrait" in params.message
        opened.append(params.url)
        if action == "accept":
            assert (await post(params.url, drawn("PNG"))).status_code == 200
        return ElicitResult(action=action)

    notifications = NotificationRecorder()
    hosts = {"mode": mode, "elicitation_callback": elicit, "message_handler": notifications}
    async with sandbox_and_client(client=hosts) as (_, client):
        answer = await ask(client, purpose="a portrait", wait_seconds=20)
        assert len(opened) == 1
        assert answer["upload_url"] is None
        assert answer["finished"] is (action == "accept")
        assert len(answer["references"]) == (1 if action == "accept" else 0)
        if action == "decline":
            assert "did not want" in answer["next_step"]
        elif mode == "legacy":
            with anyio.fail_after(60):
                await notifications.until_completed(answer["upload_id"])


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_host_that_shows_the_page_gets_no_url_and_does_not_wait(mode: Any) -> None:
    async with sandbox_and_client(client={"mode": mode, "extensions": [AppsHost()]}) as (_, client):
        with anyio.fail_after(120):
            answer = await ask(client, wait_seconds=240)
        assert answer["upload_url"] is None
        assert "in this conversation" in answer["next_step"]


async def test_without_an_address_the_model_reads_what_to_do() -> None:
    async with sandbox_and_client(local=False) as (_, client):
        refused = await client.call_tool("add_reference", {})
        assert refused.is_error
        assert "NANO_BANANA_PUBLIC_URL" in text(refused)
        assert "Error executing tool" not in text(refused)


async def send(client: Client, data: bytes, size: int = 200_000, **arguments: Any) -> CallToolResult:
    """An image in pieces. Returns the last answer."""
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    result = None
    for piece, part in enumerate(parts):
        values = {"data": base64.b64encode(part).decode(), "piece": piece, "pieces": len(parts), **arguments}
        result = await client.call_tool("upload_image", values)
        arguments.setdefault("upload_id", facts(result)["upload_id"] if not result.is_error else None)
    assert result is not None
    return result


async def test_pieces_become_an_upload_and_do_not_count_as_calls() -> None:
    file = io.BytesIO()
    Image.effect_noise((1000, 900), 90).save(file, "PNG")
    noise = file.getvalue()
    async with sandbox_and_client(calls_per_minute=2) as (_, client):
        first_answer = await ask(client)
        answer = facts(await send(client, noise, 60_000, upload_id=first_answer["upload_id"]))
        assert len(noise) > 8 * 60_000
        assert (answer["reference"]["width"], answer["reference"]["height"]) == (1000, 900)
        assert (await ask(client, upload_id=first_answer["upload_id"]))["references"] == [answer["reference"]]


async def test_a_page_can_upload_without_being_asked() -> None:
    async with sandbox_and_client() as (_, client):
        answer = facts(await send(client, photo(), 10_000))
        assert check_upright(await read(client, answer["reference"]["resource_uri"])) == (900, 1200)


async def test_pieces_that_are_missing_too_large_or_not_asked_for_are_refused() -> None:
    async with sandbox_and_client() as (_, client):
        first_answer = await ask(client)
        upload_id = first_answer["upload_id"]
        cases: list[tuple[dict[str, Any], str]] = [
            ({"data": "AAAA", "piece": 1, "pieces": 2, "upload_id": upload_id}, "missing"),
            ({"data": "A" * 400_004, "upload_id": upload_id}, "data"),
            ({"data": base64.b64encode(b"x" * 300_001).decode(), "upload_id": upload_id}, "data"),
            (
                {"data": "not base64!", "upload_id": upload_id},
                "data is not base64. Send the picture again.",
            ),
            ({"data": "사진", "upload_id": upload_id}, "data is not base64. Send the picture again."),
            ({"data": "AAAA", "image": 1, "upload_id": upload_id}, "used up"),
            ({"data": "AAAA", "piece": 3, "pieces": 2, "upload_id": upload_id}, "piece"),
            ({"data": "AAAA", "upload_id": "up-" + "0" * 24}, "no upload"),
            ({"data": "AAAA", "upload_id": "up-1"}, "upload_id"),
        ]
        for arguments, reason in cases:
            result = await client.call_tool("upload_image", arguments)
            assert result.is_error, arguments
            assert reason in text(result), (arguments, text(result))
            assert "Error executing tool" not in text(result), arguments


async def test_an_upload_survives_a_restart_and_is_read_by_its_uri(tmp_path: Path) -> None:
    async with sandbox_and_client(state_dir=tmp_path) as (_, client):
        uri = (await post((await ask(client))["upload_url"], photo())).json()["resource_uri"]
    async with sandbox_and_client(state_dir=tmp_path) as (_, client):
        assert check_upright(await read(client, uri)) == (900, 1200)
        with pytest.raises(MCPError, match="not found"):
            await read(client, "nanobanana://uploads/ref-000000000000000000000000")
        refused = await client.call_tool("generate_image", {"prompt": "x", "images": [uri[:-1]]})
        assert refused.is_error
        assert "no uploaded image" in text(refused)
