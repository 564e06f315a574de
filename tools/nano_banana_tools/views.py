"""The pages that hosts show in the conversation (MCP Apps), and which tool belongs to which."""

from __future__ import annotations

from typing import Any

from mcp.server.apps import APP_MIME_TYPE, Apps
from mcp.server.mcpserver.resources import FileResource

from nano_banana_mcp.views import GALLERY, PICTURE

SCHEME = "ui://"
PICTURE_URI = "ui://nano-banana/picture.html"
GALLERY_URI = "ui://nano-banana/gallery.html"

SHOWN: dict[str, Any] = {"ui": {"resourceUri": PICTURE_URI}}
"""What a tool carries whose result the page shows."""

BROWSED: dict[str, Any] = {"ui": {"resourceUri": GALLERY_URI}}
"""The same, for the page of many."""

FOR_THE_VIEW: dict[str, Any] = {"ui": {"visibility": ["app"]}}
"""What a tool carries that pages call and models do not see."""


def apps() -> Apps:
    """The extension with the pages; their files are read when a host asks for them.

    They declare no domains: the strictest policy holds, and pictures come to them as bytes, wherever they are.
    """
    extension = Apps()
    for uri, name, title, path in (
        (PICTURE_URI, "picture", "Picture", PICTURE),
        (GALLERY_URI, "gallery", "Pictures", GALLERY),
    ):
        extension.add_resource(
            FileResource(
                uri=uri,
                name=name,
                title=title,
                path=path,
                mime_type=APP_MIME_TYPE,
                meta={"ui": {"prefersBorder": False, "permissions": {"clipboardWrite": {}}}},
            )
        )
    return extension
