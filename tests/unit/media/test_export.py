"""Export outside a tool call: callbacks, shutdown, old images; and which images may be references."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from nano_banana_mcp.app import open_service
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.models import GeneratedImage, Generation, Status, new_generation_id
from nano_banana_mcp.generations.quotas import Callers
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_mcp.service.references import ReferenceRefused
from nano_banana_mcp.settings import load_settings
from nano_banana_sandbox.sandbox import Sandbox
from tests.support.clients import KEY
from tests.support.generations import only
from tests.support.sandbox import plain_sandbox


@asynccontextmanager
async def opened(accounts: Callers | None = None, **settings: Any) -> AsyncIterator[tuple[Sandbox, GenerationService]]:
    async with plain_sandbox(seconds=0.0) as sandbox:
        values = load_settings(base_url=sandbox.url, api_key=KEY, **settings)
        async with open_service(values, callers=accounts, local=True) as service:
            yield sandbox, service


def asking(prompt: str, *images: str) -> SubmitRequest:
    return SubmitRequest(model="google/gempix2", prompt=prompt, images=list(images) or None)


async def test_an_image_reported_by_a_callback_alone_is_exported(tmp_path: Path) -> None:
    async with opened(output_dir=tmp_path) as (sandbox, service):
        made = only((await service.generate(asking("a cat"))).generation)
        assert await service.refresher.called_back(made.generation_id, made.task_id or "")
        with anyio.fail_after(60):
            await sandbox.until(lambda stats: stats.files == 1)
            await service.wait_until_settled()
        assert len(list(tmp_path.glob("*_a-cat_*.png"))) == 1


async def test_an_image_that_is_older_than_a_day_is_not_exported(tmp_path: Path) -> None:
    async with opened(output_dir=tmp_path, cache_megabytes=0) as (sandbox, service):
        task_id = (await service.generate(asking("a cat"))).generation.public_id
        url = only(await service.get(task_id)).images[0].url
        await service.wait_until_settled()
        downloads = sandbox.stats.files
        for age, files in ((90_000.0, 0), (80_000.0, 1)):
            old = Generation(
                new_generation_id(),
                task_id=f"ta-{age:.0f}",
                status=Status.SUCCESS,
                images=(GeneratedImage(url, "image/png"),),
                created_at=time.time() - age,
                finished_at=time.time() - age,
            )
            export = await service.export(old)
            assert (export is not None) is (files == 1)
            assert sandbox.stats.files == downloads + files


async def test_an_image_of_another_caller_is_refused_as_a_reference_in_the_words_of_a_missing_one(
    tmp_path: Path,
) -> None:
    async with opened(Callers(authenticated=True), output_dir=tmp_path) as (sandbox, service):
        hers = only((await service.generate(asking("a cat"), principal="alice", wait_seconds=240)).generation)
        words = set()
        for task_id in (hers.public_id, "ta-none", hers.generation_id):
            request = asking("now at night", f"nanobanana://tasks/{task_id}/images/0")
            with pytest.raises(ReferenceRefused) as caught:
                await service.generate(request, principal="bob")
            words.add(str(caught.value))
        assert len(words) == 1
        assert sandbox.stats.submits == 1
        own = await service.generate(
            asking("now at night", f"nanobanana://tasks/{hers.public_id}/images/0"), principal="alice"
        )
        assert only(own.generation).task_id
