"""The pages that hosts show in the conversation (MCP Apps), and which tool belongs to which."""

from __future__ import annotations

from typing import Any

from mcp.server.apps import APP_MIME_TYPE, Apps
from mcp.server.mcpserver.resources import FileResource

from nano_banana_mcp.views import PICTURE

SCHEME = "ui://"
PICTURE_URI = "ui://nano-banana/picture.html"

SHOWN: dict[str, Any] = {"ui": {"resourceUri": PICTURE_URI}}
"""What a tool carries whose result the page shows."""

FOR_THE_VIEW: dict[str, Any] = {"ui": {"visibility": ["app"]}}
"""What a tool carries that pages call and models do not see."""


def apps() -> Apps:
    """The extension with the pages; their files are read when a host asks for them.

    The page declares no domains: the strictest policy holds, and pictures come to it as bytes, wherever they are.
    """
    extension = Apps()
    extension.add_resource(
        FileResource(
            uri=PICTURE_URI,
            name="picture",
            title="Picture",
            path=PICTURE,
            mime_type=APP_MIME_TYPE,
            meta={"ui": {"prefersBorder": False, "permissions": {"clipboardWrite": {}}}},
        )
    )
    return extension
