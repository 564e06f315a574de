"""LangChain's MCP adapters: each call is one run of an agent (``create_agent``), with a scripted model."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_mcp_adapters.callbacks import Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.prompts import load_mcp_prompt
from langchain_mcp_adapters.resources import load_mcp_resources
from langchain_mcp_adapters.tools import load_mcp_tools

from tests.lab.interop.walk import Answer, Client, Seen, run, walk


class _Scripted(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self


class LangChain(Client):
    """An answer is the ``ToolMessage`` that the model is shown, and its artifact."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.session: Any = None
        self.tools: list[Any] = []

    async def on_progress(self, progress: float, total: float | None, message: str | None, context: Any) -> None:
        self.progress += 1

    async def list_tools(self) -> list[str]:
        self.tools = await load_mcp_tools(self.session, callbacks=Callbacks(on_progress=self.on_progress))
        for tool in self.tools:  # as they are sent to a model
            strict = convert_to_openai_tool(tool, strict=True)["function"]
            assert strict["parameters"]["properties"] == tool.args_schema["properties"], tool.name
        return [tool.name for tool in self.tools]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        asks = AIMessage("", tool_calls=[{"name": tool, "args": arguments, "id": "call-1"}])
        agent = create_agent(_Scripted(messages=iter([asks, AIMessage("done")])), self.tools)
        messages = (await agent.ainvoke({"messages": [("user", "Go on")]}))["messages"]
        [shown] = [message for message in messages if isinstance(message, ToolMessage)]
        blocks = [{"type": "text", "text": shown.content}] if isinstance(shown.content, str) else shown.content
        return Answer(
            text="\n".join(block["text"] for block in blocks if block["type"] == "text"),
            error=shown.status == "error",
            structured=(shown.artifact or {}).get("structured_content"),
            links=[block["url"] for block in blocks if "url" in block],
            images=[block["mime_type"] for block in blocks if "base64" in block],
        )

    async def read(self, uri: str) -> str:
        [blob] = await load_mcp_resources(self.session, uris=uri)
        return blob.mimetype if blob.as_bytes() else ""

    async def resources(self) -> list[str]:
        return [str(blob.metadata["uri"]) for blob in await load_mcp_resources(self.session)]

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        return "\n".join(
            str(message.content) for message in await load_mcp_prompt(self.session, name, arguments=arguments)
        )

    async def prompts(self) -> list[str]:
        """The adapters list none: this is their session's."""
        return [prompt.name for prompt in (await self.session.list_prompts()).prompts]


async def main(job: dict[str, Any], seen: Seen) -> None:
    walker = LangChain(seen)
    if "url" in job:
        connection: Any = {"transport": "streamable_http", "url": job["url"]}
    else:
        connection = {"transport": "stdio", "command": job["command"], "args": job["args"], "env": job["env"]}
    client = MultiServerMCPClient({"pictures": connection}, callbacks=Callbacks(on_progress=walker.on_progress))
    async with client.session("pictures", auto_initialize=False) as walker.session:
        started = await walker.session.initialize()
        seen.version, seen.protocol = version("langchain-mcp-adapters"), str(started.protocolVersion)
        await walk(walker, seen)


if __name__ == "__main__":
    run(main)
