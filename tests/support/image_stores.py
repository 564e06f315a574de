"""Image stores on one state folder, and the host that they download from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyio.abc import TaskGroup

from nano_banana_mcp.media.image_store import ImageStore
from tests.support.fake_internet import Host
from tests.support.image_ledger import ImageLedger


class BackgroundTasks:
    """Stands for a task group, which a fixture cannot hold open: it may be closed by another task."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[object]] = []

    def start_soon(self, work: Callable[..., Coroutine[Any, Any, object]], *arguments: object) -> None:
        self._tasks.append(asyncio.create_task(work(*arguments)))

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@dataclass
class Stores:
    """Opens stores as several processes on one state folder would."""

    state: Path
    tasks: TaskGroup
    host: Host
    time: float = 1_000_000.0
    ledger: ImageLedger = field(default_factory=ImageLedger)

    def open(self, **options: Any) -> ImageStore:
        values: dict[str, Any] = {
            "trusted_origins": [f"http://127.0.0.1:{self.host.port}"],
            "tasks": self.tasks,
            "now": lambda: self.time,
            "opened_at": self.time,
            "retry_seconds": (),
        }
        ledger = options.pop("ledger", self.ledger)
        return ImageStore(ledger.as_ledger(), self.state / "images", **(values | options))

    def url(self, path: str = "/a.png") -> str:
        return f"http://127.0.0.1:{self.host.port}{path}"
