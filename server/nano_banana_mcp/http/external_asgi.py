"""Answer only callers on this machine: the guard for other ASGI servers, whose bind address cannot be checked."""

from __future__ import annotations

import logging
from ipaddress import IPv6Address, ip_address

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from nano_banana_mcp.settings import variable_of

_FORWARDED = (b"forwarded", b"x-forwarded-for")

logger = logging.getLogger(__name__)


class LoopbackOnly:
    """ASGI middleware: refuses peers beyond the loopback interface, and requests that a proxy passed on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._has_warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if _is_local(scope):
            await self._app(scope, receive, send)
            return
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "a caller from another machine was refused, because callers are not authenticated and anyone could "
                "spend your credits. Set %s or %s, or allow it with %s=true.",
                variable_of("tokens_file"),
                variable_of("oauth_issuer"),
                variable_of("allow_unauthenticated"),
            )
        refusal = "This server does not authenticate callers, so it answers only callers on its own machine."
        await PlainTextResponse(refusal, status_code=403)(scope, receive, send)


def _is_local(scope: Scope) -> bool:
    # Such headers come from a proxy, or are forged in the hope that the ASGI server believes them.
    if any(name in _FORWARDED for name, _ in scope["headers"]):
        return False
    try:
        address = ip_address((scope.get("client") or ("",))[0])
    except ValueError:
        return False  # a Unix socket, which may have anyone behind it
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
