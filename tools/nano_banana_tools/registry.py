"""The explicit list of the tools, and the schemas that are published for them."""

from __future__ import annotations

import functools
from typing import Any

from mcp.server.mcpserver.tools import Tool

from nano_banana_tools.catalog import (
    add_reference,
    browse_images,
    generate_image,
    get_account,
    get_task,
    read_picture,
    upload_image,
    view_image,
    wait_for_image,
)
from nano_banana_tools.definition import ToolDefinition
from nano_banana_tools.sdk_fixes.text_arguments import keep_text_arguments

CATALOG = (
    generate_image.TOOL,
    get_task.TOOL,
    wait_for_image.TOOL,
    view_image.TOOL,
    browse_images.TOOL,
    get_account.TOOL,
    add_reference.TOOL,
    read_picture.TOOL,
    upload_image.TOOL,
)


@functools.cache
def tools() -> tuple[Tool, ...]:
    """The SDK's objects for all tools, which all servers of a process share."""
    return tuple(_tool(definition) for definition in CATALOG)


def _tool(definition: ToolDefinition) -> Tool:
    tool = Tool.from_function(
        definition.handler,
        title=definition.title,
        description=definition.description,
        annotations=definition.annotations,
        meta=definition.meta,
    )
    # Every byte of a schema is in the context of every conversation, used or not.
    tool.parameters = _compact(tool.parameters, {})
    if (output := tool.fn_metadata.output_schema) is not None:
        tool.fn_metadata.output_schema = _compact(output, output.get("$defs", {}))
    keep_text_arguments(tool)
    return tool


def _compact(schema: Any, definitions: dict[str, Any]) -> Any:
    """The same schema without generated titles and class descriptions, and with ``$ref`` resolved.

    A default of null or empty is dropped, because leaving the argument out means the same. "Or null" stays an
    ``anyOf``: converters to dialects with one type each (OpenAPI, Gemini) lose a list of types.
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
