"""FastMCP's client."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastmcp.client import Client as FastMCPClient
from fastmcp.client.transports import StdioTransport
from mcp.types import BlobResourceContents, PromptReference, TextContent

from tests.lab.interop.clients.python_sdk import answer
from tests.lab.interop.walk import Answer, Client, Seen, run, walk


class FastMCP(Client):
    """Every method of it is FastMCP's own."""

    def __init__(self, client: FastMCPClient[Any]) -> None:
        self.client = client

    async def on_progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.progress += 1

    async def list_tools(self) -> list[str]:
        return [tool.name for tool in await self.client.list_tools()]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        return answer(await self.client.call_tool_mcp(tool, arguments, progress_handler=self.on_progress))

    async def read(self, uri: str) -> str:
        contents = (await self.client.read_resource(uri))[0]
        return (contents.mime_type or "") if isinstance(contents, BlobResourceContents) and contents.blob else ""

    async def resources(self) -> list[str]:
        return [str(resource.uri) for resource in await self.client.list_resources()]

    async def prompts(self) -> list[str]:
        return [prompt.name for prompt in await self.client.list_prompts()]

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        messages = (await self.client.get_prompt(name, arguments)).messages
        return "\n".join(item.content.text for item in messages if isinstance(item.content, TextContent))

    async def complete(self, prompt: str, argument: str, value: str) -> list[str]:
        reference = PromptReference(type="ref/prompt", name=prompt)
        return list((await self.client.complete(reference, {"name": argument, "value": value})).values)


async def main(job: dict[str, Any], seen: Seen) -> None:
    transport = job.get("url") or StdioTransport(job["command"], job["args"], env=job["env"])
    async with FastMCPClient(transport, mode=job["mode"]) as client:
        seen.version, seen.protocol = version("fastmcp-slim"), str(client.protocol_version)
        await walk(FastMCP(client), seen)


if __name__ == "__main__":
    run(main)
