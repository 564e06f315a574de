"""The three tools from the Python SDK's client: start a picture, look at it, wait for it, read its bytes.

Run: python examples/three_tools.py ["a prompt"]
"""

import base64
import sys

import anyio
from mcp.client import Client
from mcp.types import BlobResourceContents, TextContent

from connection import server


async def show_progress(progress: float, total: float | None, message: str | None) -> None:
    print(f"  … {message}")


async def main(prompt: str) -> None:
    async with Client(server()) as client:
        made = await client.call_tool("generate_image", {"prompt": prompt})
        if made.is_error or made.structured_content is None:
            raise SystemExit("\n".join(item.text for item in made.content if isinstance(item, TextContent)))
        task_id = made.structured_content["task_id"]
        print("task", task_id)

        state = await client.call_tool("get_task", {"task_id": task_id})
        assert state.structured_content is not None
        print("state", state.structured_content["status"])

        done = await client.call_tool(
            "wait_for_image", {"task_id": task_id, "timeout_seconds": 60}, progress_callback=show_progress
        )
        assert done.structured_content is not None
        if done.is_error:
            raise SystemExit(done.structured_content["message"])
        for image in done.structured_content["images"]:
            contents = (await client.read_resource(image["resource_uri"])).contents[0]
            assert isinstance(contents, BlobResourceContents)
            data = base64.b64decode(contents.blob)
            print("picture", image["url"] or image["resource_uri"], len(data), "bytes", contents.mime_type)


if __name__ == "__main__":
    anyio.run(main, " ".join(sys.argv[1:]) or "a lighthouse at dawn")
