"""One running sandbox: its tasks, its images and its statistics."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import anyio

from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.tasks import PRICE, Drawings, Task, TaskStore


@dataclass(slots=True)
class Stats:
    """Counts of requests and callbacks."""

    submits: int = 0
    charged: int = 0
    queries: int = 0
    queries_by_task: Counter[str] = field(default_factory=Counter)
    submits_by_prompt: Counter[str] = field(default_factory=Counter)
    callbacks_sent: int = 0
    callbacks_failed: int = 0
    files: int = 0
    files_with_key: int = 0  # requests for an image with an Authorization header: must stay 0

    def as_dict(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)}


class Sandbox:
    """A running sandbox, as `serve_sandbox` yields it."""

    def __init__(self, config: SandboxConfig, url: str, store: TaskStore | None = None) -> None:
        self.config = config
        self.url = url
        self.stats = Stats()
        self.store = TaskStore() if store is None else store
        self.images = Drawings(config.art)
        self.on_task: Callable[[Task], None] = lambda task: None
        self._changed = anyio.Event()

    @property
    def tasks(self) -> list[Task]:
        return list(self.store)

    @property
    def balance(self) -> float:
        return float(self.config.credit) - self.store.cost

    @property
    def credit(self) -> str | float:
        """The balance in the type of the configuration."""
        return f"{self.balance:.6f}" if isinstance(self.config.credit, str) else self.balance

    @property
    def broke(self) -> bool:
        return self.balance < PRICE

    def changed(self) -> None:
        """Wake the callers of `until`."""
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition: Callable[[Stats], bool]) -> None:
        """Return as soon as the counts meet the condition."""
        while not condition(self.stats):
            await self._changed.wait()
