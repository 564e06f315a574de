"""What a tool gets besides its arguments."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Resolve

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_mcp.tracking.waiter import Report

ToolContext = Context[GenerationService, Any]


async def _service(ctx: ToolContext) -> GenerationService:
    return ctx.request_context.lifespan_context


CurrentService = Annotated[GenerationService, Resolve(_service)]


def principal() -> str:
    """Whose call this is; empty where nobody is asked who they are."""
    token = get_access_token()
    return "" if token is None else token.client_id


def progress(ctx: ToolContext, seconds: float) -> Report:
    """Reports a wait of at most ``seconds`` as progress: seconds waited, of that many, with the state in words."""
    last = -1.0

    async def report(generation: Generation, waited: float) -> None:
        nonlocal last
        last = max(round(waited, 1), last + 0.1)  # the protocol wants growing values
        state = generation.status.value.replace("_", " ")
        await ctx.report_progress(round(last, 1), seconds, f"{state}, {waited:.0f} s")

    return report
