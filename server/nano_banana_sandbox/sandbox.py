"""One running sandbox: its tasks, its pictures, and what it has counted."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import anyio

from nano_banana_sandbox import answers
from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.tasks import PRICE, Drawings, Task, TaskStore

if TYPE_CHECKING:
    import httpx


@dataclass(slots=True)
class Stats:
    """What arrived and what was sent."""

    submits: int = 0
    charged: int = 0
    queries: int = 0
    queries_by_task: Counter[str] = field(default_factory=Counter)
    submits_by_prompt: Counter[str] = field(default_factory=Counter)
    callbacks_sent: int = 0
    callbacks_failed: int = 0
    files: int = 0
    files_with_key: int = 0  # reads of a picture that carried an Authorization header: should stay 0

    def as_dict(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


class Sandbox:
    """What `serve_sandbox` hands out."""

    def __init__(self, config: SandboxConfig, url: str, store: TaskStore | None = None) -> None:
        self.config = config
        self.url = url
        self.stats = Stats()
        self.store = TaskStore() if store is None else store
        self.images = Drawings()
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
        """Wake those who wait in `until`."""
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition: Callable[[Stats], bool]) -> None:
        """Return as soon as the counts fulfil the condition."""
        while not condition(self.stats):
            await self._changed.wait()


_LIMIT_SECONDS = 5.0
_EARLY_SHARE = 0.25


class CallbackTracker:
    """One try a callback, to the given URL only: no redirects, no proxies, no retries."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._client: httpx.AsyncClient | None = None

    async def deliver(self, task: Task) -> None:
        """Wait for the task's end and send what its directives ask for."""
        url, kind = task.order.callback_url, task.directives.callback
        if url is None or kind == "lost":
            return
        due = task.directives.seconds
        if kind == "early":
            due *= _EARLY_SHARE
        elif kind == "late":
            due += self._sandbox.config.late_seconds
        while (left := due - task.age) > 0:  # noqa: ASYNC110 - a sleep may end a hair early
            await anyio.sleep(left)
        body = await answers.ending(task, self._sandbox.images)
        for _ in range(2 if kind == "double" else 1):
            if await self._post(url, body):
                self._sandbox.stats.callbacks_sent += 1
            else:
                self._sandbox.stats.callbacks_failed += 1
            self._sandbox.changed()

    async def _post(self, url: str, body: answers.Body) -> bool:
        import httpx

        if self._client is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
            self._client = httpx.AsyncClient(timeout=None, trust_env=False, limits=limits)  # noqa: S113 - below
        try:
            with anyio.fail_after(_LIMIT_SECONDS):
                response = await self._client.post(url, json=body)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return False
        return response.status_code < 400

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
