"""The gallery in this process, and generations for it to show."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio
import uvicorn
from anyio.from_thread import start_blocking_portal

from nano_banana_mcp.app import open_service
from nano_banana_mcp.commands.gallery import gallery_app
from nano_banana_mcp.generations.models import GeneratedImage, Generation, Status, new_generation_id
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.media.image_folder import ImageFolder
from nano_banana_mcp.settings import Settings
from nano_banana_mcp.storage import open_database
from tests.support.settings import settings_from

NOW = 1_790_000_000.0
API = "https://api.invalid"
URL = "https://pictures.invalid/a.png"


@dataclass(frozen=True)
class Opened:
    """A gallery.

    Attributes:
        url: The address with its token.
        root: Where it is served, without a slash at the end.
    """

    url: str
    root: str


@contextmanager
def gallery(settings: Mapping[str, str]) -> Iterator[Opened]:
    """A gallery by these settings, served by another thread of this process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(_served(settings_from(settings), listener, port)) as token,
        ):
            root = f"http://127.0.0.1:{port}"
            yield Opened(f"{root}/?token={token}", root)


@asynccontextmanager
async def _served(settings: Settings, listener: socket.socket, port: int) -> AsyncIterator[str]:
    async with gallery_app(settings, port) as app, anyio.create_task_group() as tasks:
        server = _Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None, timeout_graceful_shutdown=30))
        tasks.start_soon(server.serve, [listener])
        try:
            yield app.token
        finally:
            server.should_exit = True


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals belong to the main thread


async def record(settings: Mapping[str, Any], entries: Sequence[tuple[Generation, Mapping[int, EncodedImage]]]) -> None:
    """Write generations to the ledger of these settings, and images that have no URL to its image store."""
    values = settings_from(settings)
    with closing(open_database(values)) as ledger:
        for generation, _ in entries:
            (ledger.begin if generation.task_id is None else ledger.save)(generation)
    async with open_service(values) as service:
        for generation, images in entries:
            for number, image in images.items():
                await service.images.put(generation.generation_id, number, image)


def drawn(prompt: str, age: float = 0.0, *, url: str | None = URL, count: int = 1, **more: Any) -> Generation:
    """A finished generation of ``count`` pictures that was asked for ``age`` seconds ago; without a URL, bytes only."""
    begun = NOW - age
    generation = Generation(
        new_generation_id(), prompt=prompt, model="google/gempix2", api="https://api.invalid", created_at=begun
    )
    done = replace(
        generation.accepted(f"ta{generation.generation_id[3:]}", begun),
        status=Status.SUCCESS,
        finished_at=begun + 30,
        credits_consumed="0.500000",
        images=tuple(GeneratedImage(url and f"{url}?{n}", "image/png") for n in range(count)),
    )
    return replace(done, **more)


def save_with_image(settings: Settings, generation: Generation, image: EncodedImage) -> None:
    """Record a generation whose only image has no URL, with its bytes."""
    ledger = open_database(settings)
    ledger.save(generation)
    if settings.ledger_url is None:
        folder = ImageFolder(settings.state_path / "images")
        folder.store(generation.generation_id, 0, image, is_only_copy=True, stored_at=NOW)
    else:
        ledger.save_image(generation.generation_id, 0, image)
    ledger.close()
