"""Sends the callbacks that tasks ask for."""

import anyio
import httpx

from nano_banana_sandbox import answers
from nano_banana_sandbox.sandbox import Sandbox
from nano_banana_sandbox.tasks import Task

_TIMEOUT_SECONDS = 5.0
_EARLY_SHARE = 0.25
"""Share of the duration after which `callback=early` is sent."""


class CallbackSender:
    """Sends each callback once, to the given URL only: no redirects, no proxies, no retries."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._client: httpx.AsyncClient | None = None

    async def deliver(self, task: Task) -> None:
        """Wait for the end of the task and send the callbacks of its directives."""
        url, kind = task.order.callback_url, task.directives.callback
        if url is None or kind == "lost":
            return
        due = task.directives.seconds
        if kind == "early":
            due *= _EARLY_SHARE
        elif kind == "late":
            due += self._sandbox.config.late_seconds
        while (left := due - task.age) > 0:  # noqa: ASYNC110 - a sleep may end slightly early
            await anyio.sleep(left)
        body = await answers.ending(task, self._sandbox.images)
        for _ in range(2 if kind == "double" else 1):
            if await self._post(url, body):
                self._sandbox.stats.callbacks_sent += 1
            else:
                self._sandbox.stats.callbacks_failed += 1
            self._sandbox.changed()

    async def _post(self, url: str, body: answers.Body) -> bool:
        if self._client is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
            self._client = httpx.AsyncClient(timeout=None, trust_env=False, limits=limits)  # noqa: S113 - below
        try:
            with anyio.fail_after(_TIMEOUT_SECONDS):
                response = await self._client.post(url, json=body)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return False
        return response.status_code < 400

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
