"""The Python SDK's client of the generation before (mcp 1.x, from 1.6 on), which most programs still use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from inspect import signature
from typing import Any

import anyio
from mcp import ClientSession, StdioServerParameters, stdio_client, types

from tests.lab.interop.walk import Answer, Client, Seen, run, walk


def answer(result: Any) -> Answer:
    """A result of a call, as recorded."""
    return Answer(
        text="\n".join(item.text for item in result.content if item.type == "text"),
        error=result.isError,
        structured=getattr(result, "structuredContent", None),
        links=[str(item.uri) for item in result.content if item.type == "resource_link"],
        images=[item.mimeType for item in result.content if item.type == "image"],
    )


class Session(Client):
    """Every method of it is the SDK's own, but for those that a client over it puts in their place."""

    def __init__(self) -> None:
        self.session: Any = None
        self.notified = anyio.Event()

    async def on_message(self, message: Any) -> None:
        if isinstance(getattr(message, "root", None), types.ResourceUpdatedNotification):
            self.notified.set()

    async def on_progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.progress += 1

    async def list_tools(self) -> list[str]:
        return [tool.name for tool in (await self.session.list_tools()).tools]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        takes_progress = "progress_callback" in signature(self.session.call_tool).parameters
        options = {"progress_callback": self.on_progress} if takes_progress else {}
        return answer(await self.session.call_tool(tool, arguments, **options))

    async def read(self, uri: str) -> str:
        contents = (await self.session.read_resource(uri)).contents[0]
        return (contents.mimeType or "") if getattr(contents, "blob", "") else ""

    async def resources(self) -> list[str]:
        return [str(resource.uri) for resource in (await self.session.list_resources()).resources]

    async def prompts(self) -> list[str]:
        return [prompt.name for prompt in (await self.session.list_prompts()).prompts]

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        messages = (await self.session.get_prompt(name, arguments)).messages
        return "\n".join(message.content.text for message in messages if message.content.type == "text")

    async def complete(self, prompt: str, argument: str, value: str) -> list[str]:
        reference = types.PromptReference(type="ref/prompt", name=prompt)
        return list((await self.session.complete(reference, {"name": argument, "value": value})).completion.values)

    async def updated(self, uri: str, then: Callable[[], Awaitable[None]]) -> bool:
        await self.session.subscribe_resource(uri)
        await then()
        with anyio.move_on_after(20):
            await self.notified.wait()
        await self.session.unsubscribe_resource(uri)  # a notification while it closes makes this SDK fail
        return self.notified.is_set()


@asynccontextmanager
async def _streams(job: dict[str, Any]) -> AsyncIterator[tuple[Any, Any]]:
    if "url" in job:
        from mcp.client import streamable_http  # since 1.8; its function has another name in the first versions

        connect = getattr(streamable_http, "streamable_http_client", None) or streamable_http.streamablehttp_client
        async with connect(job["url"]) as (read, write, _):
            yield read, write
    else:
        parameters = StdioServerParameters(command=job["command"], args=job["args"], env=job["env"])
        async with stdio_client(parameters) as (read, write):
            yield read, write


async def main(job: dict[str, Any], seen: Seen) -> None:
    walker = Session()
    async with (
        _streams(job) as (read, write),
        ClientSession(read, write, message_handler=walker.on_message) as walker.session,
    ):
        seen.version, seen.protocol = version("mcp"), str((await walker.session.initialize()).protocolVersion)
        await walk(walker, seen)


if __name__ == "__main__":
    run(main)
