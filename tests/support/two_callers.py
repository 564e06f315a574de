"""A server that two authenticated callers share, and everything that one of them can learn about a task."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp.client import Client
from mcp.shared.exceptions import MCPError

from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.sandbox import Sandbox
from nano_banana_sandbox.server import serve_sandbox
from tests.support.clients import text
from tests.support.http_server import at, served
from tests.support.team import client_with, grant

ERAS: list[Any] = ["auto", "legacy"]


@dataclass(frozen=True)
class Shared:
    """A server that alice and bob share, and their tokens."""

    sandbox: Sandbox
    url: str
    tokens: dict[str, str]

    def caller(self, name: str, era: Any = "auto", message_handler: Any = None) -> AbstractAsyncContextManager[Client]:
        return client_with(self.url, era, token=self.tokens[name], message_handler=message_handler)


@asynccontextmanager
async def shared(folder: Path, config: SandboxConfig, **settings: str) -> AsyncIterator[Shared]:
    """A server for alice and bob."""
    file = folder / "tokens.json"
    tokens = {name: grant(file, name) for name in ("alice", "bob")}
    async with (
        serve_sandbox(config) as sandbox,
        served(**at(sandbox.url, NANO_BANANA_TOKENS_FILE=str(file), **settings)) as server,
    ):
        yield Shared(sandbox, server.url, tokens)


async def read(client: Client, uri: str) -> str:
    """What a read says, be it contents or an error."""
    try:
        contents = (await client.read_resource(uri)).contents[0]
    except MCPError as error:
        return f"{error.error.code} {error.error.message} {error.error.data}"
    return contents.model_dump_json()


async def everything_said_of(client: Client, task_id: str, url: str) -> list[str]:
    """All that a caller can find out about a task, with the task's own names taken out."""
    said = []
    calls: list[tuple[str, dict[str, Any]]] = [
        ("get_task", {}),
        ("wait_for_image", {"timeout_seconds": 1}),
        ("view_image", {}),
        ("read_picture", {}),
    ]
    for tool, more in calls:
        result = await client.call_tool(tool, {"task_id": task_id, **more})
        said.append(f"{tool} {result.is_error} {result.structured_content} {text(result)}")
    uris = [f"nanobanana://tasks/{task_id}", f"nanobanana://tasks/{task_id}/images/0", url]
    said += [await read(client, uri) for uri in uris]
    return [item.replace(url, "URL").replace(task_id, "TASK") for item in said]
