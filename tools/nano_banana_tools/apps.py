"""The pages that hosts show in the conversation (MCP Apps), and which tool belongs to which."""

from __future__ import annotations

from functools import partial
from typing import Any

from mcp.server.apps import APP_MIME_TYPE, Apps
from mcp.server.mcpserver.resources import FunctionResource

from nano_banana_mcp.views import page

SCHEME = "ui://"
IMAGE_URI = "ui://nano-banana/picture.html"
GALLERY_URI = "ui://nano-banana/gallery.html"

SHOWN: dict[str, Any] = {"ui": {"resourceUri": IMAGE_URI}}
"""What a tool carries whose result the page shows."""

BROWSED: dict[str, Any] = {"ui": {"resourceUri": GALLERY_URI}}
"""The same, for the page of many."""

FOR_THE_VIEW: dict[str, Any] = {"ui": {"visibility": ["app"]}}
"""What a tool carries that pages call and models do not see."""


def apps() -> Apps:
    """The extension with the pages; they are read when a host asks for them.

    They declare no domains: the strictest policy holds, and pictures come to them as bytes, wherever they are.
    """
    extension = Apps()
    for uri, name, title in ((IMAGE_URI, "picture", "Picture"), (GALLERY_URI, "gallery", "Pictures")):
        extension.add_resource(
            FunctionResource(
                uri=uri,
                name=name,
                title=title,
                fn=partial(page, name),
                mime_type=APP_MIME_TYPE,
                meta={"ui": {"prefersBorder": False, "permissions": {"clipboardWrite": {}}}},
            )
        )
    return extension
