"""Uploads as a person's browser sends them, and photos to upload."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import Route

from nano_banana_mcp.app import open_service
from nano_banana_mcp.generations.uploads import UploadRequest
from nano_banana_mcp.service.uploads import UploadService
from nano_banana_mcp.upload_page.endpoint import PATH, UploadPage
from tests.support.settings import settings_from


@cache
def photo(size: tuple[int, int] = (1200, 900), orientation: int = 6, *, detail: bool = False) -> bytes:
    """A JPEG as a phone writes it: red above, blue below once it is upright, with a place and a camera in it.

    Args:
        size: Of the stored image, in pixels.
        orientation: EXIF orientation: 1 or 6.
        detail: Whether its left third is noise, so that it is large after compression, too.
    """
    upright = Image.new("RGB", size[::-1] if orientation in (6, 8) else size, "blue")
    upright.paste("red", (0, 0, upright.width, upright.height // 2))
    if detail:
        upright.paste(Image.effect_noise((upright.width // 3, upright.height), 90).convert("RGB"))
    stored = upright.rotate(90, expand=True) if orientation == 6 else upright
    exif = stored.getexif()
    exif[0x0112] = orientation
    exif[0x010F] = "Phone of the tests"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (37.0, 33.0, 58.0)
    file = io.BytesIO()
    stored.save(file, "JPEG", exif=exif, quality=92)
    return file.getvalue()


def check_upright(data: bytes) -> tuple[int, int]:
    """Check that a photo of :func:`photo` is upright and without metadata. Returns its size."""
    with Image.open(io.BytesIO(data)) as image:
        assert not image.getexif()
        assert b"Exif" not in data
        assert b"Phone of the tests" not in data
        pixels = image.convert("RGB")
        red, _, blue = pixels.getpixel((image.width // 2, image.height // 4))  # type: ignore[misc]  # of RGB
        assert (red > 200, blue < 60) == (True, True)
        red, _, blue = pixels.getpixel((image.width // 2, image.height * 3 // 4))  # type: ignore[misc]  # of RGB
        assert (red < 60, blue > 200) == (True, True)
        return image.size


async def save_upload(settings: Mapping[str, Any], data: bytes) -> str:
    """Upload to the ledger of these settings. Returns the id of the upload."""
    async with open_service(settings_from(settings)) as service:
        request = await service.uploads.ask("")
        return (await service.uploads.receive(request, data)).reference_id


@asynccontextmanager
async def upload_page(
    folder: Path, **settings: str
) -> AsyncIterator[tuple[UploadService, Callable[..., Awaitable[httpx.Response]]]]:
    """The upload page without sockets.

    Args:
        folder: The state folder.

    Yields:
        The service, and a function that posts a body of any form to the page of a request.
    """
    async with open_service(settings_from({"NANO_BANANA_STATE_DIR": str(folder), **settings})) as service:
        app = Starlette(routes=[Route(PATH, UploadPage(lambda: service.uploads, {"here"}.__contains__))])
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here", trust_env=False) as client:

            async def send(
                request: UploadRequest, body: Any, content_type: str = "multipart/form-data; boundary=x"
            ) -> httpx.Response:
                headers = {"Content-Type": content_type}
                return await client.post(f"/references/{request.grant}", content=body, headers=headers)

            yield service.uploads, send


def form(data: bytes, *, name: bytes = b"a.png", field: bytes = b"image", mime_type: bytes = b"image/png") -> bytes:
    """A form with the boundary ``x``."""
    return (
        b'--x\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\nContent-Type: %b\r\n\r\n%b\r\n--x--\r\n'
        % (field, name, mime_type, data)
    )


async def post(url: str, data: bytes, *, field: str = "image", **headers: str) -> httpx.Response:
    """Upload as a form. Headers replace those of httpx."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return await client.post(url, files={field: ("a.jpg", data, "image/jpeg")}, headers=headers)


async def get(url: str, **headers: str) -> httpx.Response:
    """Open the page."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url, headers=headers)


def refusal(response: httpx.Response) -> tuple[int, Any]:
    """The status and the reason of a refused request."""
    return response.status_code, response.json()["message"]
