"""The SDK parses JSON in every argument whose type is not plain ``str``; here text arguments stay text.

Without this, ``search='{"scene":"a cat"}'`` fails as "not a string", and ``request_id="null"`` is dropped, so that a
repeated call pays again. Caused by ``FuncMetadata.pre_parse_json``; no upstream issue is filed yet.
"""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata


class _TextArguments(FuncMetadata):
    text_arguments: frozenset[str]

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        parsed = super().pre_parse_json(data)
        return {name: data[name] if name in self.text_arguments else value for name, value in parsed.items()}


def keep_text_arguments(tool: Tool) -> None:
    """Make ``tool`` take arguments whose published type is ``string`` as they were sent."""
    metadata = tool.fn_metadata
    properties = tool.parameters["properties"]
    tool.fn_metadata = _TextArguments(
        arg_model=metadata.arg_model,
        output_schema=metadata.output_schema,
        output_model=metadata.output_model,
        wrap_output=metadata.wrap_output,
        text_arguments=frozenset(name for name, schema in properties.items() if schema.get("type") == "string"),
    )
