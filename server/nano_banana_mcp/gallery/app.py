"""The gallery as an ASGI application: the page, the generations as JSON, and the images."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import cast, get_args
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from nano_banana_mcp.common.files import reason_of
from nano_banana_mcp.gallery.service import MAX_PAGE_SIZE, PAGE_SIZE, GalleryService, name_of
from nano_banana_mcp.generations.models import Status
from nano_banana_mcp.generations.quotas import LimitReached
from nano_banana_mcp.generations.uploads import Upload
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.images.image import MAX_BYTES, too_many_bytes
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.ledger.queries import Filters, Order
from nano_banana_mcp.media.image_store import NoSuchImage
from nano_banana_mcp.views import content_policy, page

MAX_ARCHIVED = 500
"""Generations and uploads in one archive: their ids are in its address."""

_CACHE_CONTROL = "private, max-age=3600, immutable"


def create_app(service: GalleryService) -> Starlette:
    """The application, without access control: :class:`~nano_banana_mcp.gallery.access.GalleryAccess` wraps it."""
    html = page("gallery")
    policy = content_policy(html)

    async def show(request: Request) -> Response:
        return Response(html, media_type="text/html", headers={"Content-Security-Policy": policy})

    async def generations(request: Request) -> Response:
        offset, limit = _number(request, "offset", 0), _number(request, "limit", PAGE_SIZE)
        response = _json(await service.page(_filters(request), _order(request), offset, min(limit, MAX_PAGE_SIZE)))
        tag = f'"{hashlib.sha256(response.body).hexdigest()}"'
        if request.headers.get("if-none-match") == tag:  # the page asks for changes every few seconds
            return Response(status_code=304)
        response.headers["ETag"] = tag
        return response

    async def generation(request: Request) -> Response:
        if request.method == "DELETE":
            return await delete(request)
        item = await service.find(request.path_params["intent_id"])
        return _refuse(404, "It is deleted.") if item is None else _json(await service.detail(item))

    async def favorite(request: Request) -> Response:
        await service.set_favorite(request.path_params["intent_id"], is_favorite=request.method == "PUT")
        return Response(status_code=204)

    async def archive(request: Request) -> Response:
        ids = request.query_params.get("ids", "").split(",")
        if len(ids) > MAX_ARCHIVED:
            return _refuse(400, f"Select at most {MAX_ARCHIVED} entries.")
        items = [await service.find_item(item_id) for item_id in ids]
        selected = [item for item in items if isinstance(item, Upload) or (item is not None and item.images)]
        if not selected:
            return _refuse(404, "There is no picture in the selection.")
        name = f"nano-banana-{datetime.now(UTC):%Y-%m-%d-%H%M%S}.zip"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(service.archive(selected), media_type="application/zip", headers=headers)

    async def delete(request: Request) -> Response:
        generation_id = request.path_params["intent_id"]
        generation = await service.find(generation_id)
        if generation is None or generation.generation_id != generation_id:
            return _refuse(404, "It is already deleted.")
        if await service.delete(generation_id, unfinished=request.query_params.get("unfinished") == "yes"):
            return Response(status_code=204)
        return _refuse(409, "Its outcome is not known, so it was not deleted.")

    async def image(request: Request) -> Response:
        generation = await service.find(request.path_params["intent_id"])
        if generation is None:
            raise NoSuchImage
        number = request.path_params["number"]
        load = service.thumbnail if "small" in request.query_params else service.image
        encoded = await load(generation, number)
        headers = {"Cache-Control": _CACHE_CONTROL}
        if "save" in request.query_params:
            headers["Content-Disposition"] = _attachment(name_of(generation, number, encoded))
        return Response(encoded.data, media_type=encoded.mime_type, headers=headers)

    async def uploads(request: Request) -> Response:
        if request.method != "POST":
            return _json({"uploads": await service.uploads()})
        marked = await service.find_item(request.query_params.get("marks", ""))
        if marked is None:
            return _refuse(404, "The picture that was marked is deleted.")
        return _json(await service.add_upload(await _image_in(request), marked.principal), 201)

    async def upload(request: Request) -> Response:
        reference_id = request.path_params["reference_id"]
        if request.method == "DELETE":
            is_deleted = await service.delete_upload(reference_id)
            return Response(status_code=204) if is_deleted else _refuse(404, "It is already deleted.")
        load = service.uploaded_thumbnail if "small" in request.query_params else service.uploaded_image
        encoded = await load(reference_id)
        return Response(encoded.data, media_type=encoded.mime_type, headers={"Cache-Control": _CACHE_CONTROL})

    return Starlette(
        routes=[
            Route("/", show),
            Route("/generations", generations),
            Route("/generations/{intent_id}", generation, methods=["GET", "DELETE"]),
            Route("/favorites/{intent_id}", favorite, methods=["PUT", "DELETE"]),
            Route("/archive", archive),
            Route("/pictures/{intent_id}/{number:int}", image),
            Route("/uploads", uploads, methods=["GET", "POST"]),
            Route("/uploads/{reference_id}", upload, methods=["GET", "DELETE"]),
        ],
        exception_handlers={
            LedgerError: lambda _, error: _refuse(503, str(error)),
            ImageError: lambda request, error: _refuse(415 if request.method == "POST" else 502, str(error).strip()),
            LimitReached: lambda _, error: _refuse(429, str(error)),
            NoSuchImage: lambda _, error: _refuse(404, "The picture is no longer available."),
            OSError: lambda _, error: _refuse(503, f"It could not be written: {reason_of(error)}."),
        },
    )


async def _image_in(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BYTES:
            raise too_many_bytes("The upload", MAX_BYTES)
    return bytes(data)


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise HTTPException(400)
    return int(text)


def _order(request: Request) -> Order:
    order = request.query_params.get("order") or "newest"
    if order not in get_args(Order):
        raise HTTPException(400)
    return cast("Order", order)


def _filters(request: Request) -> Filters:
    values = {name: request.query_params.get(name) or None for name in ("status", "model", "search")}
    if values["status"] not in (None, *Status):
        raise HTTPException(400)
    times = {name: _number(request, name, 0) or None for name in ("since", "until")}
    return Filters(
        status=values["status"],
        model=values["model"],
        search=values["search"],
        since=times["since"],
        until=times["until"],
        favorite="favorite" in request.query_params or None,
    )


def _json(value: object, status: int = 200) -> Response:
    # ASCII: a prompt may contain lone surrogates, which UTF-8 cannot encode.
    return Response(json.dumps(value), status, media_type="application/json")


def _refuse(status: int, message: str) -> Response:
    return _json({"message": message}, status)


def _attachment(name: str) -> str:
    ascii_name = name.encode("ascii", "replace").decode().replace("?", "-")
    return f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
