"""An agent's workflow: start several pictures, then wait for all of them side by side.

Starting takes a moment each and the pictures are made at the same time, so four take about as long as one.

Run: python examples/many_at_once.py
"""

from typing import Any

import anyio
from mcp.client import Client
from mcp.types import TextContent

from connection import server

SEASONS = ["spring", "summer", "autumn", "winter"]


async def wait(client: Client, task_id: str) -> dict[str, Any]:
    """Wait as long as it takes: a timeout loses nothing, so simply wait again."""
    while True:
        result = await client.call_tool("wait_for_image", {"task_id": task_id, "timeout_seconds": 45})
        facts: dict[str, Any] | None = result.structured_content
        if facts is None:
            raise RuntimeError("\n".join(item.text for item in result.content if isinstance(item, TextContent)))
        if facts["finished"]:
            return facts


async def main() -> None:
    async with Client(server()) as client:
        tasks: dict[str, str] = {}
        for season in SEASONS:
            made = await client.call_tool("generate_image", {"prompt": f"the same old oak in {season}"})
            assert made.structured_content is not None, made.content
            tasks[season] = made.structured_content["task_id"]

        async def show(season: str) -> None:
            facts = await wait(client, tasks[season])
            where = facts["images"][0]["url"] if facts["status"] == "success" else facts["message"]
            print(f"{season:7} {facts['status']:8} {facts['elapsed_seconds']:5.1f} s  {where}")

        async with anyio.create_task_group() as group:
            for season in SEASONS:
                group.start_soon(show, season)


if __name__ == "__main__":
    anyio.run(main)
