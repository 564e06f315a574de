"""Change a picture: a file of yours goes along as a reference, as a data URI, and the answer comes in the same call.

Run: python examples/edit_a_picture.py [FILE] ["what to change"]
"""

import base64
import mimetypes
import sys
from pathlib import Path

import anyio
from mcp.client import Client

from connection import server

# One yellow pixel, for a run without a file.
YELLOW_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8/5+hHgAHggJ"
    "/PchI7wAAAABJRU5ErkJggg=="
)


def as_data_uri(file: Path) -> str:
    mime_type = mimetypes.guess_type(file.name)[0] or "image/png"
    return f"data:{mime_type};base64,{base64.b64encode(file.read_bytes()).decode()}"


async def main(reference: str, change: str) -> None:
    async with Client(server()) as client:
        result = await client.call_tool(
            "generate_image",
            {"prompt": change, "images": [reference], "aspect_ratio": "3:2", "wait_seconds": 45},
            read_timeout_seconds=90,
        )
        for item in result.content:
            print(
                item.text if item.type == "text" else f"link: {item.uri}" if item.type == "resource_link" else item.type
            )


if __name__ == "__main__":
    image = as_data_uri(Path(sys.argv[1])) if len(sys.argv) > 1 else YELLOW_PIXEL
    anyio.run(main, image, " ".join(sys.argv[2:]) or "make it night")
