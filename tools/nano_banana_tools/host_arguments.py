"""Arguments as hosts and models really send them: spelt differently, with additions of the host, or as JSON text."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS

_HOST_ADDITIONS = frozenset(
    {"toolcallid", "sessionid", "action", "chatinput", "tool", "waitforprevious", "randomstring", "dummy"}
)
"""Arguments that hosts add to calls (n8n, Gemini CLI, Cursor), without case and underscores."""

_SYNONYMS = {
    "n": "count",
    "num": "count",
    "number_of_images": "count",
    "num_images": "count",
    "num_outputs": "count",
    "number": "count",
    "quantity": "count",
    "samples": "count",
    "batch_size": "count",
    "image": "images",
    "image_url": "images",
    "image_urls": "images",
    "size": "image_size",
    "ratio": "aspect_ratio",
    "timeout": "timeout_seconds",
    "id": "task_id",
    "query": "search",
    "text": "prompt",
}
"""Names of arguments in other image tools, and ours."""


class ArgumentsParser(ServerMiddleware[Any]):
    """Parses ``params.arguments`` of a tool call where a client sends it as JSON text."""

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Pass one message on, with its arguments as an object.

        Raises:
            MCPError: the arguments are neither an object nor JSON text of one.
        """
        arguments = (ctx.params or {}).get("arguments")
        if ctx.method != "tools/call" or arguments is None or isinstance(arguments, Mapping):
            return await call_next(ctx)
        try:
            parsed = json.loads(arguments) if isinstance(arguments, str) and arguments.strip() else {}
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict) or not isinstance(arguments, str):
            raise MCPError(
                INVALID_PARAMS, "params.arguments must be an object. Nothing was sent, so nothing was charged."
            )
        return await call_next(replace(ctx, params={**(ctx.params or {}), "arguments": parsed}))


def normalize_arguments(
    arguments: Mapping[str, Any], names: Collection[str], required: Collection[str] = ()
) -> dict[str, Any]:
    """``arguments`` under the names of the schema: other spellings renamed, additions of hosts dropped.

    Args:
        names: All arguments that the schema has.
        required: Those that must be present.

    Raises:
        ToolError: a required argument is missing, or one is misspelt. A misspelt one is never ignored, because the
            image would be paid for without it.
    """
    normalized: dict[str, Any] = {}
    unknown: list[str] = []
    for name, value in arguments.items():
        known_name = name if name in names else _snake_case(name)
        if known_name in names:
            if known_name in normalized and normalized[known_name] != value:
                raise ToolError(f"{known_name} is given twice, with different values. Nothing was sent.")
            normalized[known_name] = value
        elif not name.startswith("_") and name.replace("_", "").lower() not in _HOST_ADDITIONS:
            unknown.append(name)
    problems = [f"{name} is required." for name in required if normalized.get(name) is None]
    problems += [_describe_unknown(name, names) for name in unknown[:1]]
    if problems:
        raise ToolError(f"{' '.join(problems)} Nothing was sent, so nothing was charged.")
    return normalized


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[:80]).replace("-", "_").lower()


def _describe_unknown(name: str, names: Collection[str]) -> str:
    synonym = _SYNONYMS.get(_snake_case(name))
    similar = [synonym] if synonym in names else difflib.get_close_matches(_snake_case(name), names, n=1)
    advice = f"Did you mean {similar[0]}?" if similar else f"Arguments: {', '.join(names)}."
    return f"There is no argument {name[:80]!r}. {advice}"
