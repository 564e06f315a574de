"""The gallery as an ASGI application: the page, the rows as JSON, the pictures; and who may see them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from hmac import compare_digest
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nano_banana_mcp.gallery.service import GalleryService
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.images.formats import extension_for
from nano_banana_mcp.images.saving.filenames import file_name
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.ledger.queries import Filters
from nano_banana_mcp.media.image_store import NoSuchImage
from nano_banana_mcp.views import page

_KEPT_BY_THE_BROWSER = "private, max-age=3600, immutable"


def create_app(shelf: GalleryService) -> Starlette:
    """The application. It asks nobody who they are: :class:`~nano_banana_mcp.gallery.guard.Guard` stands before it."""
    whole = page("gallery")
    policy = policy_for(whole)

    async def show(request: Request) -> Response:
        return Response(whole, media_type="text/html", headers={"Content-Security-Policy": policy})

    async def generations(request: Request) -> Response:
        return _json(await shelf.page(_offset(request), _filters(request)))

    async def delete(request: Request) -> Response:
        generation_id = request.path_params["intent_id"]
        known = await shelf.find(generation_id)
        if known is None or known.generation_id != generation_id:
            return _refuse(404, "It is gone already.")
        if await shelf.delete(generation_id, unfinished=request.query_params.get("unfinished") == "yes"):
            return Response(status_code=204)
        return _refuse(409, "Its end is not known, so it was not deleted.")

    async def image(request: Request) -> Response:
        known = await shelf.find(request.path_params["intent_id"])
        if known is None:
            raise NoSuchImage
        number = request.path_params["number"]
        small = "small" in request.query_params
        found = await (shelf.thumbnail if small else shelf.whole)(known, number)
        headers = {"Cache-Control": _KEPT_BY_THE_BROWSER}
        if "save" in request.query_params:
            headers["Content-Disposition"] = _as_file(known, number, extension_for(found.mime_type))
        return Response(found.data, media_type=found.mime_type, headers=headers)

    return Starlette(
        routes=[
            Route("/", show),
            Route("/generations", generations),
            Route("/generations/{intent_id}", delete, methods=["DELETE"]),
            Route("/pictures/{intent_id}/{number:int}", image),
        ],
        exception_handlers={
            LedgerError: lambda _, error: _refuse(503, str(error)),
            ImageError: lambda _, error: _refuse(502, str(error).strip()),
            NoSuchImage: lambda _, error: _refuse(404, "Its bytes are gone."),
            OSError: lambda _, error: _refuse(503, f"The folder of saved pictures cannot be read: {error.strerror}."),
        },
    )


def policy_for(page: str) -> str:
    """A content-security policy under which nothing runs but the page's own script and style."""
    sources = {
        kind: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
            for content in re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        )
        for kind in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {sources['script']}; style-src {sources['style']}; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _offset(request: Request) -> int:
    text = request.query_params.get("offset", "0")
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise HTTPException(400)
    return int(text)


def _filters(request: Request) -> Filters:
    given = {name: request.query_params.get(name) or None for name in ("status", "model", "search")}
    if given["status"] not in (None, *Status):
        raise HTTPException(400)
    return Filters(status=given["status"], model=given["model"], search=given["search"])


def _json(value: object, status: int = 200) -> Response:
    # ASCII: prompts may hold what UTF-8 has no room for.
    return Response(json.dumps(value), status, media_type="application/json")


def _refuse(status: int, words: str) -> Response:
    return _json({"message": words}, status)


def _as_file(known: Generation, number: int, extension: str) -> str:
    name = file_name(
        created_at=known.created_at, prompt=known.prompt, task_id=known.public_id, number=number, extension=extension
    )
    plain = name.encode("ascii", "replace").decode().replace("?", "-")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"


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
