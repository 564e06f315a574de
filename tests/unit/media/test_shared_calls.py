"""Pictures by URL: fetched once, for all who ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from nano_banana_mcp.images.cache import CachedDownloads

from nano_banana_mcp.images.errors import ImageUnavailable
from tests.support.fake_internet import Host, answer, listening
from tests.support.image_samples import PNG


class Gate:
    """Answers when it is opened."""

    def __init__(self, reply: bytes) -> None:
        self.asked = anyio.Event()
        self.opened = anyio.Event()
        self._reply = reply

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        self.asked.set()
        await self.opened.wait()
        writer.write(self._reply)
        await writer.drain()


@pytest.fixture
async def sandbox() -> AsyncIterator[Host]:
    async with listening(Host(), None) as host:
        yield host


def library(host: Host, folder: Path | None = None, most_bytes: int = 1_000_000) -> CachedDownloads:
    return CachedDownloads([f"http://127.0.0.1:{host.port}"], folder, most_bytes)


def url(host: Host, path: str = "/a.png") -> str:
    return f"http://127.0.0.1:{host.port}{path}"


async def test_a_image_is_fetched_once_and_then_read_from_the_cache(sandbox: Host, tmp_path: Path) -> None:
    sandbox.answers["/a.png"] = answer(PNG)
    for _ in range(2):
        encoded_images = library(sandbox, tmp_path / "cache")
        for _ in range(2):
            assert (await encoded_images.get(url(sandbox))).data == PNG
        await encoded_images.aclose()
    assert sandbox.paths() == ["/a.png"]


@pytest.mark.parametrize("most_bytes", [0, 1_000_000])
async def test_without_a_cache_nothing_is_kept(sandbox: Host, tmp_path: Path, most_bytes: int) -> None:
    sandbox.answers["/a.png"] = answer(PNG)
    encoded_images = library(sandbox, tmp_path / "cache" if most_bytes == 0 else None, most_bytes)
    for _ in range(2):
        assert (await encoded_images.get(url(sandbox))).data == PNG
    assert sandbox.paths() == ["/a.png", "/a.png"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden"])
async def test_all_who_ask_at_once_share_one_fetch_and_its_end(sandbox: Host, status: str) -> None:
    gate = sandbox.answers["/a.png"] = Gate(answer(PNG, status=status))
    encoded_images = library(sandbox)
    ends: list[object] = []

    async def ask() -> None:
        try:
            ends.append((await encoded_images.get(url(sandbox))).data)
        except ImageUnavailable as error:
            ends.append(error.status)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
        await gate.asked.wait()
        gate.opened.set()
    assert ends == [PNG if status == "200 OK" else 403] * 5
    assert sandbox.paths() == ["/a.png"]


async def test_a_failed_fetch_is_tried_again_by_the_next_who_asks(sandbox: Host, tmp_path: Path) -> None:
    encoded_images = library(sandbox, tmp_path / "cache")
    with pytest.raises(ImageUnavailable):
        await encoded_images.get(url(sandbox))
    sandbox.answers["/a.png"] = answer(PNG)
    assert (await encoded_images.get(url(sandbox))).data == PNG


async def test_whoever_cancels_takes_no_image_from_the_others(sandbox: Host) -> None:
    first = sandbox.answers["/a.png"] = Gate(answer(PNG))
    encoded_images = library(sandbox)
    got: list[bytes] = []

    async def ask() -> None:
        got.append((await encoded_images.get(url(sandbox))).data)

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as given_up:
                given_up.start_soon(ask)
                await first.asked.wait()
                tasks.start_soon(ask)
                await anyio.lowlevel.checkpoint()
                sandbox.answers["/a.png"] = answer(PNG)
                scope.cancel()
    assert got == [PNG]
    assert sandbox.paths() == ["/a.png", "/a.png"]


async def test_different_images_do_not_wait_for_each_other(sandbox: Host) -> None:
    slow = sandbox.answers["/slow.png"] = Gate(answer(PNG))
    sandbox.answers["/a.png"] = answer(PNG)
    encoded_images = library(sandbox)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(encoded_images.get, url(sandbox, "/slow.png"))
        await slow.asked.wait()
        assert (await encoded_images.get(url(sandbox))).data == PNG
        slow.opened.set()
