"""A PydanticAI agent that uses the server. Its model is scripted, so it runs without any language model.

With a real model, replace `FunctionModel(script)` by its name, such as "anthropic:claude-sonnet-4-5".

Run: python examples/pydantic_ai_agent.py
"""

from typing import Any

import anyio
from fastmcp.client import Client
from fastmcp.client.transports import StdioTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from connection import server


def script(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """What a good model does: start the picture, wait as the answer says, then tell its address."""
    last = messages[-1].parts[-1]
    if not isinstance(last, ToolReturnPart):
        return ModelResponse([ToolCallPart("generate_image", {"prompt": "a fox reading in the rain"})])
    answer: Any = last.content
    if isinstance(answer, dict):  # a state: the structured answer
        return ModelResponse([ToolCallPart("wait_for_image", {"task_id": answer["task_id"]})])
    summary, *images = answer  # a finished picture: the text, and the links
    return ModelResponse([TextPart(f"Here is your picture: {images[0]}\n({summary.splitlines()[0]})")])


async def main() -> None:
    parameters = server()
    transport = StdioTransport(parameters.command, parameters.args, env=parameters.env)
    agent = Agent(FunctionModel(script), toolsets=[MCPToolset(Client(transport))])
    async with agent:
        result = await agent.run("Draw me a fox reading in the rain")
    print(result.output)


if __name__ == "__main__":
    anyio.run(main)
