"""What a tool gets besides its arguments: the service, the caller, and a way to report progress."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import Context

from nano_banana_mcp.generations.batches import Batch, GenerationOrBatch
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_mcp.tracking.waiter import Report

ToolContext = Context[GenerationService, Any]


def principal() -> str:
    """The authenticated identity of the current caller; empty without authentication."""
    token = get_access_token()
    return "" if token is None else token.client_id


def growing_progress(ctx: ToolContext, seconds: float) -> Callable[[float, str], Awaitable[None]]:
    """A function that reports a wait of at most ``seconds`` as MCP progress: the seconds waited, and a message."""
    last = -1.0

    async def report(waited: float, message: str) -> None:
        nonlocal last
        last = max(round(waited, 1), last + 0.1)  # the protocol requires growing values
        await ctx.report_progress(round(last, 1), seconds, message)

    return report


def progress(ctx: ToolContext, seconds: float) -> Report:
    """A function that reports a wait as MCP progress: seconds waited, out of ``seconds``, with the state as message."""
    report = growing_progress(ctx, seconds)

    async def report_state(item: GenerationOrBatch, waited: float) -> None:
        await report(waited, f"{describe_state(item)}, {waited:.0f} s")

    return report_state


def describe_state(item: GenerationOrBatch) -> str:
    """The state in words; of an unfinished batch with the number of finished images."""
    state = item.status.value.replace("_", " ")
    if isinstance(item, Batch) and item.is_open:
        finished = sum(generation.finished for generation in item.generations)
        return f"{state}, {finished} of {len(item.generations)} finished"
    return state
