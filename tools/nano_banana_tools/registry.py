"""The explicit list of the tools, with what hosts go by: titles, descriptions, annotations, schemas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations

from nano_banana_tools import apps as views
from nano_banana_tools.catalog import browse_images, generate_image, get_task, read_picture, view_image, wait_for_image

PAID = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
READ_ONLY = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


def tools() -> list[Tool]:
    """The tools of the server, made afresh."""
    return [
        _tool(generate_image.generate_image, "Generate image", generate_image.DESCRIPTION, PAID, views.SHOWN),
        _tool(get_task.get_task, "Get task", get_task.DESCRIPTION, READ_ONLY),
        _tool(wait_for_image.wait_for_image, "Wait for image", wait_for_image.DESCRIPTION, READ_ONLY, views.SHOWN),
        _tool(view_image.view_image, "View image", view_image.DESCRIPTION, READ_ONLY),
        _tool(browse_images.browse_images, "Browse images", browse_images.DESCRIPTION, READ_ONLY, views.BROWSED),
        _tool(read_picture.read_picture, "Read picture", read_picture.DESCRIPTION, READ_ONLY, views.FOR_THE_VIEW),
    ]


def _tool(
    function: Callable[..., Any],
    title: str,
    description: str,
    annotations: ToolAnnotations,
    meta: dict[str, Any] | None = None,
) -> Tool:
    tool = Tool.from_function(function, title=title, description=description, annotations=annotations, meta=meta)
    # Every byte of a schema is in the context of every conversation, used or not.
    tool.parameters = _compact(tool.parameters, {})
    if (output := tool.fn_metadata.output_schema) is not None:
        tool.fn_metadata.output_schema = _compact(output, output.get("$defs", {}))
    return tool


def _compact(schema: Any, definitions: dict[str, Any]) -> Any:
    """The same schema without generated titles and class descriptions, and with ``$ref`` resolved.

    A default of null or of nothing goes too: it is what leaving the argument out means. "Or null" stays an ``anyOf``:
    a list of types is shorter, but what maps schemas to a dialect with one type each (OpenAPI's, Gemini's) loses it.
    """
    if isinstance(schema, list):
        return [_compact(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _compact(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions)
    return {
        key: {name: _compact(item, definitions) for name, item in value.items()}
        if key == "properties"
        else _compact(value, definitions)
        for key, value in schema.items()
        if key not in ("title", "$defs")
        and not (key == "description" and "properties" in schema)
        and not (key == "default" and not isinstance(value, bool | int | float))
    }
