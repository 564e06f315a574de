"""Tells the client's callback URL that a task has ended."""

from typing import TYPE_CHECKING

import anyio

from nano_banana_mcp.sandbox import answers
from nano_banana_mcp.sandbox.sandbox import Sandbox
from nano_banana_mcp.sandbox.tasks import Task

if TYPE_CHECKING:
    import httpx

_LIMIT_SECONDS = 5.0
_EARLY_SHARE = 0.25


class Callbacks:
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
        body = await answers.ending(task, self._sandbox.pictures)
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
