"""Answers as the negotiated protocol revision allows: older clients fail on fields and content they do not expect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from pydantic import BaseModel

FIRST_WITH_INPUT_REQUIRED = "2026-07-28"
"""Questions to the person are the answer of a call, which the client repeats."""

FIRST_WITH_ICONS = "2025-11-25"

FIRST_WITH_STRUCTURED_CONTENT = "2025-06-18"
"""Adds ``structuredContent``, ``outputSchema``, ``resource_link``, ``title``, a tool's ``_meta`` and elicitation."""

FIRST_WITH_TOOL_ANNOTATIONS = "2025-03-26"
"""Adds the annotations of tools, and completions."""

_LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}


class RevisionFilter(ServerMiddleware[Any]):
    """Removes from an answer what the client's protocol revision does not have.

    Args:
        resource_links: Whether results carry ``resource_link`` content at all.
    """

    def __init__(self, *, resource_links: bool = True) -> None:
        self._resource_links = resource_links

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Pass one message on, and filter its answer."""
        answer = await call_next(ctx)
        if answer is None:
            return answer
        if ctx.method == "initialize":
            return _filter_initialize(_as_sent(answer))
        is_old = ctx.protocol_version < FIRST_WITH_STRUCTURED_CONTENT
        if ctx.method == "tools/call" and (is_old or not self._resource_links):
            return _filter_result(_as_sent(answer), structured=not is_old)
        if is_old and ctx.method in _LISTS:
            return _filter_list(_as_sent(answer), _LISTS[ctx.method], ctx.protocol_version)
        return answer


def _filter_initialize(answer: Mapping[str, Any]) -> dict[str, Any]:
    version = str(answer.get("protocolVersion", ""))
    if version >= FIRST_WITH_ICONS:
        return dict(answer)
    filtered = {**answer, "serverInfo": _without(answer.get("serverInfo", {}), "icons")}
    if version >= FIRST_WITH_STRUCTURED_CONTENT:
        return filtered
    filtered["serverInfo"] = _without(filtered["serverInfo"], "title")
    if version < FIRST_WITH_TOOL_ANNOTATIONS:
        filtered["capabilities"] = _without(answer.get("capabilities", {}), "completions")
    return filtered


def _filter_result(answer: Mapping[str, Any], *, structured: bool) -> dict[str, Any]:
    if "content" not in answer:  # a task, or a question to the person
        return dict(answer)
    content = [block for block in answer["content"] if block.get("type") != "resource_link"]
    filtered = {**answer, "content": content}
    return filtered if structured else _without(filtered, "structuredContent")


def _filter_list(answer: Mapping[str, Any], name: str, version: str) -> dict[str, Any]:
    removed = ["title", "outputSchema", "_meta"]
    if name == "tools" and version < FIRST_WITH_TOOL_ANNOTATIONS:
        removed.append("annotations")
    items = [_without(item, *removed) for item in answer.get(name, ())]
    if name == "prompts":
        items = [
            {**item, "arguments": [_without(argument, "title") for argument in item.get("arguments", ())]}
            for item in items
        ]
    return {**answer, name: items}


def _as_sent(answer: HandlerResult) -> Mapping[str, Any]:
    return answer.model_dump(mode="json", by_alias=True) if isinstance(answer, BaseModel) else answer or {}


def _without(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
