"""Let MCP clients in web pages of allowed origins call this server (CORS)."""

from __future__ import annotations

from mcp.server.streamable_http import LAST_EVENT_ID_HEADER, MCP_SESSION_ID_HEADER
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from nano_banana_mcp.http.middleware.host_names import HostNames

_REQUEST_HEADERS = (
    "Accept",
    "Authorization",
    "Content-Type",
    LAST_EVENT_ID_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    MCP_SESSION_ID_HEADER,
    "Mcp-Method",
    "Mcp-Name",
    "X-Request-Id",
)
_RESPONSE_HEADERS = (MCP_SESSION_ID_HEADER, "WWW-Authenticate", "Retry-After", "X-Request-Id")


class AllowedOrigins(CORSMiddleware):
    """Starlette's CORS middleware for the origins of allowed host names. It must precede authentication: browsers
    send no token with a preflight request.
    """

    def __init__(self, app: ASGIApp, host_names: HostNames) -> None:
        super().__init__(
            app,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=_REQUEST_HEADERS,
            expose_headers=_RESPONSE_HEADERS,
        )
        self._host_names = host_names

    def is_allowed_origin(self, origin: str) -> bool:
        """Whether the origin's host is an allowed name."""
        return self._host_names.allows_origin(origin)
