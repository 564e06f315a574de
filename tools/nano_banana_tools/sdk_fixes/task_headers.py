"""The SDK compares the header ``Mcp-Name`` with the body for its own methods only; here for ``tasks/*`` too.

SEP-2663, "Routing headers". A missing header is accepted, though clients must send it: fastmcp-tasks 4.1.4 does not.
The SDK's list is ``mcp.shared.inbound.NAME_BEARING_METHODS``; no upstream issue is filed yet.
"""

from __future__ import annotations

from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp.types import HEADER_MISMATCH


def check_task_header(ctx: ServerRequestContext[Any, Any], task_id: str) -> None:
    """Check that a request over HTTP names no other task in the header; other transports have none.

    Raises:
        MCPError: it names another one (-32020).
    """
    header = None if ctx.request is None else ctx.request.headers.get(MCP_NAME_HEADER)
    if header is not None and decode_header_value(header) != task_id:
        raise MCPError(HEADER_MISMATCH, f"{MCP_NAME_HEADER} header does not match the body's 'taskId'")
