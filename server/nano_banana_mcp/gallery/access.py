"""Access to the gallery: its address, its token and its cookie."""

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
"""Headers of every answer. Each answer sets its own content policy."""

_REFUSAL = (
    "Open the address that `nano-banana-mcp gallery` printed. It ends with a token and works on this machine only.\n"
)


class GalleryAccess:
    """An ASGI middleware that admits only the browser of the person who started the gallery.

    A request must name this server as its host, come from the gallery's own page, and carry its cookie. The page itself
    is also served for the token of the printed address.

    The cookie is not the token, because other users can read the token in a list of processes or in the history of the
    browser. Its name contains the port, because browsers share cookies between the ports of a host.

    Args:
        app: The gallery.
        port: The port that it listens on.
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
        """Answer one HTTP request."""
        request = Request(scope)
        token = request.query_params.get(TOKEN, "") if request.url.path == "/" else ""
        has_token = _same(token, self.token)
        is_allowed = self._is_own_request(request, has_token=has_token) and (
            has_token or _same(request.cookies.get(self._cookie, ""), self._session)
        )

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
                headers.setdefault("Cache-Control", "no-store")
                if is_allowed and has_token:
                    attributes = "Path=/; HttpOnly; SameSite=Strict"
                    headers.append("Set-Cookie", f"{self._cookie}={self._session}; {attributes}")
            await send(message)

        app = self._app if is_allowed else PlainTextResponse(_REFUSAL, 403)
        await app(scope, receive, with_headers)

    def _is_own_request(self, request: Request, *, has_token: bool) -> bool:
        """Whether the request names this server and comes from its own page.

        Pages on other ports of this machine are foreign, although browsers send them the cookie.
        """
        hosts, origins = request.headers.getlist("host"), request.headers.getlist("origin")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return False
        if origins or request.method not in ("GET", "HEAD"):
            return origins == [f"http://{hosts[0]}"]
        return has_token or request.headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def _same(value: str, expected: str) -> bool:
    return compare_digest(value.encode("utf-8", "surrogatepass"), expected.encode())
