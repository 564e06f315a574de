"""The SDK compares the header ``Mcp-Name`` with the body for its own methods only; here for ``tasks/*`` too.

SEP-2663, "Routing headers". The SDK's list is ``mcp.shared.inbound.NAME_BEARING_METHODS``; no upstream issue is filed
yet.
"""

from __future__ import annotations

from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp.types import HEADER_MISMATCH


def check_task_header(ctx: ServerRequestContext[Any, Any], task_id: str) -> None:
    """Check that a request over HTTP names its task in the header; other transports have none.

    Raises:
        MCPError: it names another one, or none (-32020).
    """
    if ctx.request is not None and decode_header_value(ctx.request.headers.get(MCP_NAME_HEADER)) != task_id:
        raise MCPError(HEADER_MISMATCH, f"{MCP_NAME_HEADER} header does not match the body's 'taskId'")
