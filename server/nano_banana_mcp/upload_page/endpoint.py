"""``/references/{grant}``: the page for a person, and the upload. The grant in the path is the only access control."""

from __future__ import annotations

import html
import json
from collections.abc import Awaitable, Callable, Collection, Mapping

import anyio
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nano_banana_mcp.generations.quotas import LimitReached
from nano_banana_mcp.generations.uploads import UploadRequest
from nano_banana_mcp.images.errors import ImageError, ImageTooLarge, ImageUnavailable
from nano_banana_mcp.images.image import MAX_BYTES, too_many_bytes
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.service.uploads import UploadClosed, UploadService, upload_reference
from nano_banana_mcp.views import content_policy, page

PATH = "/references/{grant}"

FIELD = "image"
"""Name of the form field with the image."""

MAX_BODY_BYTES = MAX_BYTES + 64 * 1024
"""An image and what a form adds to it."""

MAX_READ_SECONDS = 120.0

MAX_CONCURRENT_UPLOADS = 4
"""Uploads with their image in memory at a time."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_NO_CONTENT_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"

_GONE = "This upload link is invalid, used or expired. Ask the assistant for a new one."


class UploadPage:
    """The ASGI endpoint for :data:`PATH`.

    Args:
        uploads: Returns the service, while serving.
        is_own_host: Whether a Host header names this server. Others may be rebound names of a web page.
        origins: Origins of the page besides that of the Host header, such as the public one behind a proxy.
        principal_of: Returns the principal of a bearer token. A browser sends none, but a request that has one must be
            its grant's owner.
    """

    def __init__(
        self,
        uploads: Callable[[], UploadService],
        is_own_host: Callable[[str], bool],
        origins: Collection[str] = (),
        principal_of: Callable[[str], Awaitable[str | None]] | None = None,
    ) -> None:
        self._uploads = uploads
        self._principal_of = principal_of
        self._is_own_host = is_own_host
        self._origins = frozenset(origins)
        self._limiter = anyio.CapacityLimiter(MAX_CONCURRENT_UPLOADS)
        self._html = page("reference")
        self._policy = content_policy(self._html)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        response: ASGIApp = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if (problem := self._foreign(request)) is not None:
            return _refuse(403, problem)
        if request.method not in ("GET", "HEAD", "POST"):
            return _refuse(405, "Use GET or POST.", {"Allow": "GET, HEAD, POST"})
        uploads = self._uploads()
        try:
            upload_request = await uploads.open_grant(request.path_params["grant"])
            if upload_request is None or await self._is_foreign_token(request, upload_request.principal):
                is_for_person = request.method != "POST" and "text/html" in request.headers.get("accept", "")
                return self._page({"left": 0}, 404) if is_for_person else _refuse(404, _GONE)
            if request.method == "POST":
                return await self._take(uploads, upload_request, request)
            left = upload_request.count - upload_request.used
            return self._page({"purpose": upload_request.purpose, "left": left, "max_side": uploads.max_side})
        except LedgerError as error:
            return _refuse(503, str(error))

    def _foreign(self, request: Request) -> str | None:
        """Why a request comes from another site; None if it does not."""
        hosts, origins = request.headers.getlist("host"), request.headers.getlist("origin")
        if len(hosts) != 1 or not self._is_own_host(hosts[0]):
            return "This server does not accept this host name."
        own = {*self._origins, f"http://{hosts[0]}", f"https://{hosts[0]}"}
        if any(origin not in own for origin in origins):
            return "Uploads are accepted from this server's own page only."
        site = request.headers.get("sec-fetch-site", "none")
        if request.method == "POST" and site not in ("same-origin", "none"):
            return "Uploads are accepted from this server's own page only."
        return None

    async def _is_foreign_token(self, request: Request, owner: str) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if self._principal_of is None or scheme.lower() != "bearer":
            return False
        return await self._principal_of(token.strip()) != owner

    def _page(self, facts: Mapping[str, object], status: int = 200) -> Response:
        meta = f'<meta name="upload" content="{html.escape(json.dumps(facts))}">'
        content = self._html.replace("<!-- upload -->", meta)
        return HTMLResponse(content, status, headers={**_HEADERS, "Content-Security-Policy": self._policy})

    async def _take(self, uploads: UploadService, upload_request: UploadRequest, request: Request) -> Response:
        bounded = _bounded(request)
        try:
            file = await _read_file(bounded)
            if isinstance(file, Response):
                return file
            async with self._limiter:
                return _json(200, upload_reference(await uploads.receive(upload_request, await file.read())))
        except UploadClosed:
            return _refuse(404, _GONE)
        except LimitReached as error:
            return _refuse(429, f"{error.message} {error.hint}")
        except ImageError as error:
            return _refuse(_status_of(error), str(error))
        finally:
            await bounded.close()


def _status_of(error: ImageError) -> int:
    if isinstance(error, ImageTooLarge):
        return 413
    return 503 if isinstance(error, ImageUnavailable) else 415


def _bounded(request: Request) -> Request:
    """The request, which raises :class:`ImageTooLarge` where its body exceeds :data:`MAX_BODY_BYTES`."""
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise too_many_bytes("The upload", MAX_BYTES)
        return message

    return Request(request.scope, receive)


async def _read_file(request: Request) -> UploadFile | Response:
    """The file of the form, on the disk if it is large; a refusal if the form has no file.

    Raises:
        ImageTooLarge: The body exceeds :data:`MAX_BODY_BYTES`.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return _refuse(415, f"Send a form (multipart/form-data) with the image in the field “{FIELD}”.")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 12 or int(length) > MAX_BODY_BYTES):
        raise too_many_bytes("The upload", MAX_BYTES)
    try:
        with anyio.fail_after(MAX_READ_SECONDS):
            form = await request.form(max_files=1, max_fields=8)
    except (MultiPartException, HTTPException):  # the latter from Starlette inside an application
        return _refuse(400, f"The form cannot be read. Send one file, in the field “{FIELD}”.")
    except (ClientDisconnect, TimeoutError):
        return _refuse(408, "The upload was not complete in time.")
    file = form.get(FIELD)
    return file if isinstance(file, UploadFile) else _refuse(400, f"The form has no file in the field “{FIELD}”.")


def _json(status: int, value: object, headers: dict[str, str] | None = None) -> Response:
    all_headers = {**_HEADERS, "Content-Security-Policy": _NO_CONTENT_POLICY, **(headers or {})}
    return Response(json.dumps(value), status, media_type="application/json", headers=all_headers)


def _refuse(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return _json(status, {"message": message}, headers)
