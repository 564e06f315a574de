"""The OpenAI Agents SDK: each call is one run of an agent, with a scripted model that asks for the tool.

With ``convert_schemas_to_strict``: a model then has to give every argument, and gives nothing as an empty text or list.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

from agents import Agent, Runner, set_tracing_disabled
from agents.items import ModelResponse
from agents.mcp import MCPServerStdio, MCPServerStreamableHttp
from agents.models.interface import Model
from agents.tool import FunctionTool
from agents.usage import Usage
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

from tests.lab.interop.walk import Answer, Client, Seen, run, walk

NOTHING = {"string": "", "array": [], "number": 0, "integer": 0}


class _Scripted(Model):
    """Asks for one tool, and ends when it has the answer."""

    def __init__(self, tool: str = "", arguments: dict[str, Any] | None = None) -> None:
        self.tool = tool
        self.arguments = arguments or {}
        self.tools: list[Any] = []
        self.shown: Any = None

    async def get_response(self, system_instructions: Any, input: Any, *rest: Any, **options: Any) -> ModelResponse:
        self.tools = list(options.get("tools", rest[1] if len(rest) > 1 else []))
        last = input[-1] if isinstance(input, list) else {}
        if self.tool and last.get("type") != "function_call_output":
            [schema] = [item.params_json_schema for item in self.tools if item.name == self.tool]
            given = {name: self._given(name, about) for name, about in schema["properties"].items()}
            call = ResponseFunctionToolCall(
                type="function_call", call_id="call-1", name=self.tool, arguments=json.dumps(given)
            )
            return ModelResponse(output=[call], usage=Usage(), response_id=None)
        self.shown = last.get("output")
        words = ResponseOutputText(type="output_text", text="done", annotations=[])
        message = ResponseOutputMessage(
            id="message-1", type="message", role="assistant", status="completed", content=[words]
        )
        return ModelResponse(output=[message], usage=Usage(), response_id=None)

    def _given(self, name: str, about: dict[str, Any]) -> Any:
        return self.arguments.get(name, about.get("default", NOTHING[about["type"]]))

    def stream_response(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError


class OpenAIAgents(Client):
    """An answer is what the model is shown, and what the application gets beside it."""

    def __init__(self) -> None:
        self.server: Any = None
        self.error = False
        self.structured: dict[str, Any] | None = None

    def on_result(self, context: Any) -> None:
        """The SDK's ``custom_data_extractor``."""
        self.error = bool(context.is_error)
        self.structured = None if context.structured_content is None else dict(context.structured_content)

    async def _run(self, model: _Scripted) -> None:
        agent: Agent[Any] = Agent(
            name="painter", model=model, mcp_servers=[self.server], mcp_config={"convert_schemas_to_strict": True}
        )
        await Runner.run(agent, "Go on")

    async def list_tools(self) -> list[str]:
        model = _Scripted()
        await self._run(model)
        for tool in model.tools:
            assert isinstance(tool, FunctionTool)
            # It takes the schema of a tool without arguments for one that allows any.
            assert tool.strict_json_schema or not tool.params_json_schema["properties"], f"{tool.name} is not strict"
        return [tool.name for tool in model.tools]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        model = _Scripted(tool, arguments)
        await self._run(model)
        shown = model.shown
        parts = shown if isinstance(shown, list) else [{"type": "input_text", "text": shown}]
        texts = [part["text"] for part in parts if part["type"] == "input_text"]
        links = [json.loads(text)["uri"] for text in texts if text.startswith("{") and "resource_link" in text]
        return Answer(
            text="\n".join(texts),
            error=self.error,
            structured=self.structured,
            links=links,
            images=[part["image_url"][5:].partition(";")[0] for part in parts if part["type"] == "input_image"],
        )

    async def read(self, uri: str) -> str:
        contents: Any = (await self.server.read_resource(uri)).contents[0]
        return str(contents.mime_type) if getattr(contents, "blob", "") else ""

    async def resources(self) -> list[str]:
        return [str(resource.uri) for resource in (await self.server.list_resources()).resources]

    async def prompts(self) -> list[str]:
        return [prompt.name for prompt in (await self.server.list_prompts()).prompts]

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        messages = (await self.server.get_prompt(name, arguments)).messages
        return "\n".join(item.content.text for item in messages if item.content.type == "text")


async def main(job: dict[str, Any], seen: Seen) -> None:
    set_tracing_disabled(True)  # it would be sent to OpenAI
    walker = OpenAIAgents()
    # Its own time limit, 5 s, is too short for a wait.
    options: Any = {"client_session_timeout_seconds": 120, "custom_data_extractor": walker.on_result}
    if "url" in job:
        walker.server = MCPServerStreamableHttp({"url": job["url"]}, **options)
    else:
        walker.server = MCPServerStdio({key: job[key] for key in ("command", "args", "env")}, **options)
    async with walker.server:
        seen.version, seen.protocol = version("openai-agents"), walker.server.session.protocol_version
        await walk(walker, seen)


if __name__ == "__main__":
    run(main)
