"""Who may see the gallery: the browser that was given its address, and nothing else on this machine or the web."""

from __future__ import annotations

import secrets
from hmac import compare_digest

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = "token"  # noqa: S105 - the parameter's name

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer. The policy for content is each answer's own."""

_REFUSAL = (
    "Open the address that `nano-banana-mcp gallery` printed: it ends with a token, and serves this machine only.\n"
)


class Guard:
    """Lets through what names this server, comes from its own page, and has its cookie (for the page: or the token).

    The cookie is not the token, which others may read in a list of processes or in a browser's history, and is named
    after the port, because cookies are shared by all ports of a host.

    Args:
        port: Where it is served on this machine.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        if port == 80:
            self._hosts |= {"127.0.0.1", "localhost"}
        self.token = secrets.token_urlsafe(32)
        self._session = secrets.token_urlsafe(32)
        self._cookie = f"nano-banana-gallery-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application, for HTTP alone."""
        request = Request(scope)
        given = request.query_params.get(TOKEN, "") if request.url.path == "/" else ""
        has_token = _same(given, self.token)
        allowed = self._is_from_here(request, arriving=has_token) and (
            has_token or _same(request.cookies.get(self._cookie, ""), self._session)
        )

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
                headers.setdefault("Cache-Control", "no-store")
                if allowed and has_token:
                    attributes = "Path=/; HttpOnly; SameSite=Strict"
                    headers.append("Set-Cookie", f"{self._cookie}={self._session}; {attributes}")
            await send(message)

        app = self._app if allowed else PlainTextResponse(_REFUSAL, 403)
        await app(scope, receive, with_headers)

    def _is_from_here(self, request: Request, *, arriving: bool) -> bool:
        """Whether it names this server and no other page sends it. Other ports of this machine are other pages, though
        browsers send them the cookie."""
        hosts, origins = request.headers.getlist("host"), request.headers.getlist("origin")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return False
        if origins or request.method not in ("GET", "HEAD"):
            return origins == [f"http://{hosts[0]}"]
        return arriving or request.headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def _same(given: str, right: str) -> bool:
    return compare_digest(given.encode("utf-8", "surrogatepass"), right.encode())
