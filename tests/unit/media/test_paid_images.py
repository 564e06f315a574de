"""A paid image can be read for good, and is paid for once: real components and the sandbox's API."""

from __future__ import annotations

import base64
import shutil
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from anyio.to_thread import run_sync
from mcp.client import Client
from mcp.types import BlobResourceContents, CallToolResult, ImageContent

from nano_banana_mcp.app import open_service
from nano_banana_mcp.commands.gallery import gallery_app
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.quotas import LimitReached
from nano_banana_mcp.media.image_store import stored_size
from nano_banana_mcp.settings import Settings, load_settings
from nano_banana_sandbox.faults import Fault
from nano_banana_sandbox.server import serve_sandbox
from nano_banana_sandbox.tasks import Task
from tests.support.clients import KEY, client_at, facts
from tests.support.command_line import run_here
from tests.support.generations import only
from tests.support.sandbox import plain_config

pytestmark = pytest.mark.slow

QUICK = plain_config(seconds=0.0)


def let_url_expire(task: Task) -> None:
    task.order = replace(task.order, directives=replace(task.directives, file=Fault("404")))


def image_bytes(result: CallToolResult) -> bytes:
    [image] = [item for item in result.content if isinstance(item, ImageContent)]
    return base64.b64decode(image.data)


async def resource_bytes(client: Client, uri: str) -> bytes:
    [content] = (await client.read_resource(uri)).contents
    assert isinstance(content, BlobResourceContents)
    return base64.b64decode(content.blob)


async def gallery_bytes(settings: Settings, generation_id: str) -> bytes:
    async with (
        gallery_app(settings, 8000) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8000") as browser,
    ):
        await browser.get("/", params={"token": app.token})
        answer = await browser.get(f"/pictures/{generation_id}/0")
        assert answer.status_code == 200, answer.text
        return answer.content


async def test_every_reader_shows_an_image_whose_url_is_dead_and_whose_download_cache_is_empty(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with serve_sandbox(QUICK) as sandbox:
        settings = {"DEFAPI_API_KEY": KEY, "DEFAPI_BASE_URL": sandbox.url, "NANO_BANANA_STATE_DIR": str(state)}
        async with client_at(sandbox.url, state_dir=state) as client:
            made = facts(await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240}))
        [task] = sandbox.tasks
        original = await sandbox.images.get(task, 0)
        let_url_expire(task)
        shutil.rmtree(state / "cache", ignore_errors=True)
        downloads = sandbox.stats.files

        task_id, [image] = made["task_id"], made["images"]
        async with client_at(sandbox.url, state_dir=state) as client:
            assert image_bytes(await client.call_tool("view_image", {"task_id": task_id}))
            assert image_bytes(await client.call_tool("read_picture", {"task_id": task_id})) == original
            assert await resource_bytes(client, image["resource_uri"]) == original
            assert await resource_bytes(client, image["url"]) == original
            edit = {"prompt": "at night", "images": [image["resource_uri"]], "wait_seconds": 240}
            assert facts(await client.call_tool("generate_image", edit))["status"] == "success"
            [reference] = sandbox.tasks[-1].order.request["images"]
            sent = f"data:image/png;base64,{base64.b64encode(original).decode()}"
            assert reference == f"{sent[:64]}… ({len(sent)} characters)"  # as the sandbox cuts it

        folder = tmp_path / "saved"
        saved = await run_sync(lambda: run_here("save", task_id, "--output", folder, settings=settings))
        assert saved.returncode == 0, saved.stderr
        assert len(list(folder.glob("*.png"))) == 1
        values = load_settings(base_url=sandbox.url, api_key=KEY, state_dir=state)
        async with open_service(values) as service:
            generation_id = only(await service.get(task_id)).generation_id
        assert await gallery_bytes(values, generation_id) == original
        assert sandbox.stats.files == downloads + 1  # the edited image
        assert task.reads[0] == 1


async def test_a_size_limit_drops_bytes_only_so_a_request_id_is_paid_for_once_and_the_budget_binds(
    tmp_path: Path,
) -> None:
    """Over three starts, with images that come inside the answer and are each larger than the limit."""
    state = tmp_path / "state"
    async with serve_sandbox(QUICK) as sandbox:
        settings = load_settings(
            base_url=sandbox.url, api_key=KEY, state_dir=state, keep_megabytes=0.0001, credits_per_day=Decimal(1)
        )

        async def generate(prompt: str, request_id: str | None = None) -> Generation:
            request = SubmitRequest(model="google/gempix2", prompt=f"{prompt} sandbox:result=data-uri")
            result = await service.generate(request, request_id=request_id, wait_seconds=240)
            assert result.generation.status is Status.SUCCESS
            return only(result.generation)

        generation_ids = set()
        for _ in range(3):
            async with open_service(settings) as service:
                generation_ids.add((await generate("a cat", "request-1")).generation_id)
                await service.images.tidy()
                await service.ledger.tidy()
                assert await run_sync(stored_size, state / "images") == (0, 0)
        assert len(generation_ids) == 1
        assert sandbox.stats.submits == 1

        async with open_service(settings) as service:
            await generate("a dog")
        for _ in range(3):
            async with open_service(settings) as service:
                with pytest.raises(LimitReached):
                    await generate("a bird")
        assert sandbox.stats.submits == 2
