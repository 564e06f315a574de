"""The SDK parses JSON in every argument whose type is not plain ``str``; here text arguments stay text.

Without this, ``search='{"scene":"a cat"}'`` fails as "not a string", and ``request_id="null"`` is dropped, so that a
repeated call pays again. Caused by ``FuncMetadata.pre_parse_json``; no upstream issue is filed yet.
"""

from __future__ import annotations

from mcp.server.mcpserver.tools import Tool


def keep_text_arguments(tool: Tool) -> None:
    """Make ``tool`` take arguments whose published type is ``string`` as they were sent.

    The SDK looks at a field's annotation to decide what to parse; the validators are already built from the real one.
    """
    for name, field in tool.fn_metadata.arg_model.model_fields.items():
        if tool.parameters["properties"][name].get("type") == "string":
            field.annotation = str
