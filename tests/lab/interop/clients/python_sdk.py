"""The Python SDK's client, of the generation that this project uses: ``mode`` "auto" or "legacy"."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import anyio
from mcp.client import Client as McpClient
from mcp.client.stdio import StdioServerParameters
from mcp.types import (
    BlobResourceContents,
    CallToolResult,
    ImageContent,
    PromptReference,
    ResourceLink,
    ResourceUpdatedNotification,
    TextContent,
)

from tests.lab.interop.walk import Answer, Client, Seen, run, walk


def answer(result: CallToolResult) -> Answer:
    """A result of a call, as recorded."""
    return Answer(
        text="\n".join(item.text for item in result.content if isinstance(item, TextContent)),
        error=bool(result.is_error),
        structured=result.structured_content,
        links=[str(item.uri) for item in result.content if isinstance(item, ResourceLink)],
        images=[item.mime_type for item in result.content if isinstance(item, ImageContent)],
    )


class PythonSdk(Client):
    """Every method of it is the SDK's own."""

    def __init__(self) -> None:
        self.client: McpClient
        self.notified = anyio.Event()

    async def on_message(self, message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            self.notified.set()

    async def on_progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.progress += 1

    async def list_tools(self) -> list[str]:
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        return answer(await self.client.call_tool(tool, arguments, progress_callback=self.on_progress))

    async def read(self, uri: str) -> str:
        contents = (await self.client.read_resource(uri)).contents[0]
        return (contents.mime_type or "") if isinstance(contents, BlobResourceContents) and contents.blob else ""

    async def resources(self) -> list[str]:
        return [str(resource.uri) for resource in (await self.client.list_resources()).resources]

    async def prompts(self) -> list[str]:
        return [prompt.name for prompt in (await self.client.list_prompts()).prompts]

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        messages = (await self.client.get_prompt(name, arguments)).messages
        return "\n".join(message.content.text for message in messages if isinstance(message.content, TextContent))

    async def complete(self, prompt: str, argument: str, value: str) -> list[str]:
        reference = PromptReference(type="ref/prompt", name=prompt)
        answered = await self.client.complete(reference, {"name": argument, "value": value})
        return list(answered.completion.values)

    async def updated(self, uri: str, then: Callable[[], Awaitable[None]]) -> bool:
        with anyio.move_on_after(20):
            if self.client.protocol_version >= "2026":
                async with self.client.listen(resource_subscriptions=[uri]) as events:
                    await then()
                    return bool(await anext(aiter(events)))
            with warnings.catch_warnings(action="ignore"):  # the older era's way, in the SDK of the newer one
                await self.client.subscribe_resource(uri)
            await then()
            await self.notified.wait()
        return self.notified.is_set()


async def main(job: dict[str, Any], seen: Seen) -> None:
    walker = PythonSdk()
    server: Any = job.get("url")
    if server is None:
        server = StdioServerParameters(command=job["command"], args=job["args"], env=job["env"])
    async with McpClient(server, mode=job["mode"], message_handler=walker.on_message) as walker.client:
        seen.version, seen.protocol = version("mcp"), walker.client.protocol_version
        await walk(walker, seen)


if __name__ == "__main__":
    run(main)
