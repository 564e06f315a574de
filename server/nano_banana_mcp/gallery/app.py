"""The gallery as an ASGI application: the page, the rows as JSON, the pictures."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nano_banana_mcp.gallery.shelf import Shelf
from nano_banana_mcp.generations.album import NoSuchPicture
from nano_banana_mcp.generations.ledger import LedgerError
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.sql import Filters
from nano_banana_mcp.images.errors import PictureError
from nano_banana_mcp.images.names import file_name
from nano_banana_mcp.images.sniff import extension_for
from nano_banana_mcp.views import GALLERY

_KEPT_BY_THE_BROWSER = "private, max-age=3600, immutable"


def create_app(shelf: Shelf) -> Starlette:
    """The application. It asks nobody who they are: :class:`~nano_banana_mcp.gallery.guard.Guard` stands before it."""
    page = GALLERY.read_text(encoding="utf-8")
    policy = policy_for(page)

    async def show(request: Request) -> Response:
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": policy})

    async def generations(request: Request) -> Response:
        return _json(await shelf.page(_offset(request), _filters(request)))

    async def delete(request: Request) -> Response:
        intent_id = request.path_params["intent_id"]
        known = await shelf.find(intent_id)
        if known is None or known.intent_id != intent_id:
            return _refuse(404, "It is gone already.")
        if await shelf.delete(intent_id, unfinished=request.query_params.get("unfinished") == "yes"):
            return Response(status_code=204)
        return _refuse(409, "Its end is not known, so it was not deleted.")

    async def picture(request: Request) -> Response:
        known = await shelf.find(request.path_params["intent_id"])
        if known is None:
            raise NoSuchPicture
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
            Route("/pictures/{intent_id}/{number:int}", picture),
        ],
        exception_handlers={
            LedgerError: lambda _, error: _refuse(503, str(error)),
            PictureError: lambda _, error: _refuse(502, str(error).strip()),
            NoSuchPicture: lambda _, error: _refuse(404, "Its bytes are gone."),
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
        created_at=known.created_at, prompt=known.prompt, task_id=known.handle, number=number, extension=extension
    )
    plain = name.encode("ascii", "replace").decode().replace("?", "-")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
