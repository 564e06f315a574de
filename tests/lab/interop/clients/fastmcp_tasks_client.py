"""FastMCP with its package for tasks: a call that polls by itself, and one as a handle."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastmcp.client import Client
from fastmcp.client.transports import StdioTransport
from fastmcp_tasks.client import call_tool_task

from tests.lab.interop.walk import Seen, note_task, run


async def main(job: dict[str, Any], seen: Seen) -> None:
    transport = job.get("url") or StdioTransport(job["command"], job["args"], env=job["env"])
    arguments = {"prompt": job["prompt"]}
    async with Client(transport, mode=job["mode"]) as client:
        seen.version, seen.protocol = version("fastmcp-tasks"), str(client.protocol_version)
        result = await client.call_tool("generate_image", arguments)
        note_task(seen, "a call that polls by itself", result.structured_content)
        handle = await call_tool_task(client, "generate_image", arguments)
        await handle.cancel()
        note_task(seen, "a handle, cancelled and kept", (await handle).structured_content)


if __name__ == "__main__":
    run(main)
