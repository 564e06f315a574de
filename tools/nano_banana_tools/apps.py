"""MCP Apps: the pages that hosts show in the conversation, and the metadata that binds tools to them."""

from __future__ import annotations

from functools import partial
from typing import Any

from mcp.server.apps import APP_MIME_TYPE, Apps
from mcp.server.mcpserver.resources import FunctionResource

from nano_banana_mcp.views import page

SCHEME = "ui://"
IMAGE_URI = "ui://nano-banana/picture.html"
GALLERY_URI = "ui://nano-banana/gallery.html"

REFERENCE_URI = "ui://nano-banana/reference.html"

REFERENCE_VIEW: dict[str, Any] = {"ui": {"resourceUri": REFERENCE_URI}}
"""Metadata of a tool: its result is shown in the view in which images are added."""

PICTURE_VIEW: dict[str, Any] = {"ui": {"resourceUri": IMAGE_URI}}
"""Metadata of a tool: its result is shown in the picture view."""

GALLERY_VIEW: dict[str, Any] = {"ui": {"resourceUri": GALLERY_URI}}
"""Metadata of a tool: its result is shown in the gallery view."""

APP_ONLY: dict[str, Any] = {"ui": {"visibility": ["app"]}}
"""Metadata of a tool: pages may call it, and it is hidden from models."""


def apps() -> Apps:
    """The extension with the pages, which are read from disk when a host requests them.

    The pages declare no domains, so the strictest content policy applies; images reach them as bytes.
    """
    extension = Apps()
    for uri, name, title in (
        (IMAGE_URI, "picture", "Picture"),
        (GALLERY_URI, "gallery", "Pictures"),
        (REFERENCE_URI, "reference", "Add a picture"),
    ):
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
