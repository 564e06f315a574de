"""Google's Gen AI SDK: its own loop of automatic function calling, against a Gemini of a few lines on a local port."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from threading import Thread
from typing import Any

from google import genai
from google.genai import types
from mcp.client import Client as McpClient
from mcp.client.stdio import StdioServerParameters

from tests.lab.interop.walk import Answer, Client, Seen, run, walk


class Gemini:
    """Asks for one tool, and ends when it has the answer."""

    def __init__(self) -> None:
        self.asks: dict[str, Any] | None = None
        self.declared: dict[str, set[str]] = {}
        self.shown: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        declarations = [item for tool in request["tools"] for item in tool["functionDeclarations"]]
        self.declared = {item["name"]: set(item["parameters"].get("properties", {})) for item in declarations}
        responses = [
            part["functionResponse"] for part in request["contents"][-1]["parts"] if "functionResponse" in part
        ]
        if responses:
            self.shown = responses[0]["response"]
        part = {"text": "done"} if responses or self.asks is None else {"functionCall": self.asks}
        return {"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}]}

    @contextmanager
    def listening(self) -> Iterator[str]:
        gemini = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(gemini.answer(request)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()


class GoogleGenAI(Client):
    """An answer is what the model is shown."""

    def __init__(self, gemini: Gemini, models: Any, session: Any) -> None:
        self.gemini = gemini
        self.models = models
        self.session = session

    async def _run(self, asks: dict[str, Any] | None) -> None:
        self.gemini.asks = asks
        config: Any = {"tools": [self.session]}
        await self.models.generate_content(model="gemini-3-pro", contents="Go on", config=config)

    async def list_tools(self) -> list[str]:
        await self._run(None)
        for tool in (await self.session.list_tools()).tools:
            assert self.gemini.declared[tool.name] == set(tool.input_schema["properties"]), tool.name
        return list(self.gemini.declared)

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        await self._run({"name": tool, "args": arguments})
        shown = self.gemini.shown
        result = shown.get("result", shown)
        content = result.get("content", []) if isinstance(result, dict) else []
        return Answer(
            text="\n".join(item["text"] for item in content if item["type"] == "text") or json.dumps(shown),
            error="error" in shown or bool(isinstance(result, dict) and result.get("isError", result.get("is_error"))),
            structured=result.get("structuredContent", result.get("structured_content")),
            links=[item["uri"] for item in content if item["type"] == "resource_link"],
            images=[item.get("mimeType", item.get("mime_type")) for item in content if item["type"] == "image"],
        )


@asynccontextmanager
async def _connected(job: dict[str, Any]) -> AsyncIterator[McpClient]:
    server: Any = job.get("url")
    if server is None:
        server = StdioServerParameters(command=job["command"], args=job["args"], env=job["env"])
    async with McpClient(server, mode=job["mode"]) as client:
        yield client


async def main(job: dict[str, Any], seen: Seen) -> None:
    gemini = Gemini()
    with gemini.listening() as url:
        model = genai.Client(api_key="none", http_options=types.HttpOptions(base_url=url))
        async with _connected(job) as client:
            seen.version, seen.protocol = version("google-genai"), client.protocol_version
            await walk(GoogleGenAI(gemini, model.aio.models, client.session), seen)


if __name__ == "__main__":
    run(main)
