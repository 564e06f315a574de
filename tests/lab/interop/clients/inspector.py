"""The MCP Inspector's command line: every command is a process of its own, and over stdio so is the server behind it.

So over stdio the picture is made in one command (``wait_seconds``), comes as bytes, and is looked at in later ones:
what they have in common is the ledger in the state folder.
"""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

from tests.lab.interop.walk import PROMPT, Answer, Client, Seen, run, walk

PACKAGE = "@modelcontextprotocol/inspector"
_IS_ERROR = 5


class Inspector(Client):
    """Every answer is what the program prints as JSON."""

    def __init__(self, job: dict[str, Any], seen: Seen) -> None:
        self.job = job
        self.seen = seen
        program = Path(job["packages"]) / PACKAGE / "clients" / "launcher" / "build" / "index.js"
        self.start = [job["node"], str(program), "--cli", "--format", "json", "--protocol-era", job["mode"]]
        if "url" in job:
            self.target = [job["url"]]
        else:
            settings = [f"{name}={value}" for name, value in job["env"].items() if name.startswith("NANO_BANANA_")]
            self.start += [word for setting in settings for word in ("-e", setting)]
            self.target = [job["command"], *job["args"]]

    async def _do(self, method: str, *options: str) -> dict[str, Any]:
        line = [*self.start, "--method", method, *options, *self.target]
        # Its settings are in the home folder: this one has none of the person's.
        environment = {**os.environ, "HOME": self.job["home"]}
        process = await asyncio.create_subprocess_exec(*line, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environment)
        printed, problems = await process.communicate()
        if process.returncode not in (0, _IS_ERROR):
            raise RuntimeError(f"{method}: exit {process.returncode}: {problems.decode()[-500:]}")
        if method == "tools/list":
            self.seen.extra["strict"] = problems.decode().strip()[-2000:]
        answered: dict[str, Any] = json.loads(printed)
        return dict(answered.get("result", answered))

    async def initialize(self) -> dict[str, Any]:
        """What was agreed on."""
        return await self._do("initialize")

    async def list_tools(self) -> list[str]:
        """With ``--strict``: warnings about schemas that are not portable appear on stderr."""
        return [tool["name"] for tool in (await self._do("tools/list", "--strict"))["tools"]]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        if "url" not in self.job and arguments.get("prompt") == PROMPT:
            arguments = {"prompt": f"{PROMPT} sandbox:result=data-uri", "wait_seconds": 30}
        result = await self._do("tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))
        content = result["content"]
        return Answer(
            text="\n".join(item["text"] for item in content if item["type"] == "text"),
            error=bool(result.get("isError")),
            structured=result.get("structuredContent"),
            links=[item["uri"] for item in content if item["type"] == "resource_link"],
            images=[item["mimeType"] for item in content if item["type"] == "image"],
        )

    async def read(self, uri: str) -> str:
        contents = (await self._do("resources/read", "--uri", uri))["contents"][0]
        return str(contents["mimeType"]) if contents.get("blob") else ""

    async def resources(self) -> list[str]:
        return [item["uri"] for item in (await self._do("resources/list"))["resources"]]

    async def prompts(self) -> list[str]:
        return [item["name"] for item in (await self._do("prompts/list"))["prompts"]]

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        pairs = [f"{key}={value}" for key, value in arguments.items()]
        filled = await self._do("prompts/get", "--prompt-name", name, "--prompt-args", *pairs, "--")
        return "\n".join(message["content"]["text"] for message in filled["messages"])


async def main(job: dict[str, Any], seen: Seen) -> None:
    about = json.loads((Path(job["packages"]) / PACKAGE / "package.json").read_text(encoding="utf-8"))
    seen.version = about["version"]
    inspector = Inspector(job, seen)
    seen.protocol = str((await inspector.initialize())["protocolVersion"])
    await walk(inspector, seen)


if __name__ == "__main__":
    run(main)
