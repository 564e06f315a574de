"""A small client of the API for these tests."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx

from nano_banana_sandbox.server import Sandbox

MODEL = "google/gempix2"
KEY = {"Authorization": "Bearer dk-test"}
BROWSER = {"User-Agent": "Mozilla/5.0 (compatible; tests)"}


class Driver:
    """Speaks to one sandbox over a real socket."""

    def __init__(self, sandbox: Sandbox, client: httpx.AsyncClient) -> None:
        self.sandbox = sandbox
        self.client = client

    async def submit(self, prompt: str = "a hill", *, key: str | None = "dk-test", **more: Any) -> httpx.Response:
        body = {"model": MODEL, "prompt": prompt, **more}
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return await self.client.post("/api/image/gen", json=body, headers=headers)

    async def task_id(self, prompt: str = "a hill", **more: Any) -> str:
        response = await self.submit(prompt, **more)
        assert response.status_code == 200, response.text
        return str(response.json()["data"]["task_id"])

    async def query(self, task_id: str) -> httpx.Response:
        return await self.client.get("/api/task/query", params={"task_id": task_id}, headers=KEY)

    async def ending(self, prompt: str, **more: Any) -> dict[str, Any]:
        """The state of a task that ends at once."""
        response = await self.query(await self.task_id(f"{prompt} sandbox:seconds=0", **more))
        data: dict[str, Any] = response.json()["data"]
        return data

    async def image(self, prompt: str, **more: Any) -> httpx.Response:
        """The first picture of a task that ends at once."""
        data = await self.ending(prompt, **more)
        return await self.client.get(data["result"][0]["image"], headers=BROWSER)


Serve = Callable[..., AbstractAsyncContextManager[Driver]]
"""Starts a sandbox with the given directives and settings, and connects to it: the fixture `serve`."""
