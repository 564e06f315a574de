"""A PydanticAI agent: each call is one run of the agent, with a scripted model that asks for the tool."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastmcp.client import Client as FastMCPClient
from fastmcp.client.transports import StdioTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import (
    BinaryContent,
    ModelMessage,
    ModelResponse,
    RetryPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tests.lab.interop.walk import Answer, Client, Seen, run, walk


class PydanticAI(Client):
    """An answer is what the model is shown."""

    def __init__(self, toolset: MCPToolset[Any]) -> None:
        self.toolset = toolset
        self.names: list[str] = []
        self.answer = Answer()

    async def on_progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.progress += 1

    async def list_tools(self) -> list[str]:
        """Those that the model sees."""

        def look(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            self.names = [tool.name for tool in info.function_tools]
            return ModelResponse([TextPart("seen")])

        await Agent(FunctionModel(look), toolsets=[self.toolset]).run("What can you do?")
        return self.names

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        def script(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            last = messages[-1].parts[-1]
            if isinstance(last, ToolReturnPart | RetryPromptPart):
                self.answer = _shown(last)
                return ModelResponse([TextPart("done")])
            return ModelResponse([ToolCallPart(tool, arguments)])

        if tool not in self.names:  # an app's own, which the model does not see
            return _shown(ToolReturnPart(tool, await self.toolset.direct_call_tool(tool, arguments), "direct"))
        await Agent(FunctionModel(script), toolsets=[self.toolset]).run("Go on")
        return self.answer

    async def read(self, uri: str) -> str:
        content = await self.toolset.read_resource(uri)
        return content.media_type if isinstance(content, BinaryContent) else ""

    async def resources(self) -> list[str]:
        return [str(resource.uri) for resource in await self.toolset.list_resources()]

    async def prompts(self) -> list[str]:
        return [prompt.name for prompt in await self.toolset.list_prompts()]

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        return str(await self.toolset.get_prompt(name, arguments))


def _shown(part: ToolReturnPart | RetryPromptPart) -> Answer:
    content: Any = part.content
    parts = content if isinstance(content, list) else [content]
    texts = [item for item in parts if isinstance(item, str)]
    structured = next((item for item in parts if isinstance(item, dict)), None)
    return Answer(
        text="\n".join(texts),
        error=isinstance(part, RetryPromptPart) or part.outcome != "success",
        structured=structured,
        links=[text for text in texts if "://" in text and " " not in text],
        images=[item.media_type for item in parts if isinstance(item, BinaryContent)],
    )


async def main(job: dict[str, Any], seen: Seen) -> None:
    transport = job.get("url") or StdioTransport(job["command"], job["args"], env=job["env"])
    walker: PydanticAI

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        await walker.on_progress(progress, total, message)

    client = FastMCPClient(transport, mode=job["mode"], progress_handler=on_progress)
    walker = PydanticAI(MCPToolset(client))
    async with walker.toolset:
        seen.version, seen.protocol = version("pydantic-ai-slim"), str(client.protocol_version)
        await walk(walker, seen)


if __name__ == "__main__":
    run(main)
