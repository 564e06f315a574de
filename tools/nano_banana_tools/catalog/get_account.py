"""get_account: credits left and spent, limits, and what each model usually costs and takes."""

from __future__ import annotations

from mcp.types import CallToolResult, TextContent

from nano_banana_tools.account import account_facts, account_text
from nano_banana_tools.context import ToolContext, principal
from nano_banana_tools.definition import READ_ONLY, ToolDefinition

DESCRIPTION = "Credits left and spent, what the limits leave, and what each model usually costs and takes. Free."


# No output schema: it would cost every conversation more than the answer explains.
async def get_account(ctx: ToolContext) -> CallToolResult:
    """Read the caller's ledger, and the balance of the key that pays for them if it is theirs."""
    service = ctx.request_context.lifespan_context
    account = await service.account.read(principal())
    return CallToolResult(
        content=[TextContent(type="text", text=account_text(account))], structured_content=account_facts(account)
    )


TOOL = ToolDefinition(get_account, "Get account", DESCRIPTION, READ_ONLY)
