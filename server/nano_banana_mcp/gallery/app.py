"""The gallery as an ASGI application: the page, the generations as JSON, and the images."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nano_banana_mcp.gallery.service import GalleryService
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.images.formats import extension_for
from nano_banana_mcp.images.saving.filenames import file_name
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.ledger.queries import Filters
from nano_banana_mcp.media.image_store import NoSuchImage
from nano_banana_mcp.views import content_policy, page

_CACHE_CONTROL = "private, max-age=3600, immutable"


def create_app(service: GalleryService) -> Starlette:
    """The application, without access control: :class:`~nano_banana_mcp.gallery.access.GalleryAccess` wraps it."""
    html = page("gallery")
    policy = content_policy(html)

    async def show(request: Request) -> Response:
        return Response(html, media_type="text/html", headers={"Content-Security-Policy": policy})

    async def generations(request: Request) -> Response:
        return _json(await service.page(_offset(request), _filters(request)))

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
            headers["Content-Disposition"] = _attachment(generation, number, extension_for(encoded.mime_type))
        return Response(encoded.data, media_type=encoded.mime_type, headers=headers)

    async def uploads(request: Request) -> Response:
        return _json({"uploads": await service.uploads()})

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
            Route("/generations/{intent_id}", delete, methods=["DELETE"]),
            Route("/pictures/{intent_id}/{number:int}", image),
            Route("/uploads", uploads),
            Route("/uploads/{reference_id}", upload, methods=["GET", "DELETE"]),
        ],
        exception_handlers={
            LedgerError: lambda _, error: _refuse(503, str(error)),
            ImageError: lambda _, error: _refuse(502, str(error).strip()),
            NoSuchImage: lambda _, error: _refuse(404, "The picture is no longer available."),
            OSError: lambda _, error: _refuse(
                503, f"The folder of saved pictures cannot be read: {error.strerror or error}."
            ),
        },
    )


def _offset(request: Request) -> int:
    text = request.query_params.get("offset", "0")
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise HTTPException(400)
    return int(text)


def _filters(request: Request) -> Filters:
    values = {name: request.query_params.get(name) or None for name in ("status", "model", "search")}
    if values["status"] not in (None, *Status):
        raise HTTPException(400)
    return Filters(status=values["status"], model=values["model"], search=values["search"])


def _json(value: object, status: int = 200) -> Response:
    # ASCII: a prompt may contain lone surrogates, which UTF-8 cannot encode.
    return Response(json.dumps(value), status, media_type="application/json")


def _refuse(status: int, message: str) -> Response:
    return _json({"message": message}, status)


def _attachment(generation: Generation, number: int, extension: str) -> str:
    name = file_name(
        created_at=generation.created_at,
        prompt=generation.prompt,
        task_id=generation.public_id,
        number=number,
        extension=extension,
    )
    ascii_name = name.encode("ascii", "replace").decode().replace("?", "-")
    return f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
