"""What a tool gets besides its arguments: the service, the caller, and a way to report progress."""

from __future__ import annotations

from typing import Any

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import Context

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_mcp.tracking.waiter import Report

ToolContext = Context[GenerationService, Any]


def principal() -> str:
    """The authenticated identity of the current caller; empty without authentication."""
    token = get_access_token()
    return "" if token is None else token.client_id


def progress(ctx: ToolContext, seconds: float) -> Report:
    """A function that reports a wait as MCP progress: seconds waited, out of ``seconds``, with the state as message."""
    last = -1.0

    async def report(generation: Generation, waited: float) -> None:
        nonlocal last
        last = max(round(waited, 1), last + 0.1)  # the protocol requires growing values
        state = generation.status.value.replace("_", " ")
        await ctx.report_progress(round(last, 1), seconds, f"{state}, {waited:.0f} s")

    return report
