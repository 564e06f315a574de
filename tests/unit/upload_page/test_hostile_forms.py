"""Forms that no browser sends and images that hold more than an image: the accepted ones and the refusals."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image, PngImagePlugin

from nano_banana_mcp.upload_page import endpoint
from tests.support.image_samples import drawn
from tests.support.uploads import form, photo, upload_page

PNG = drawn("PNG")
SCRIPT = b"<script>alert(1)</script>"
ONE_FILE = "The form cannot be read. Send one file, in the field “image”."


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("index.html", SCRIPT)
    return file.getvalue()


def png_with_text(text: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", text, zip=True)
    return drawn("PNG", pnginfo=info)


def part(head: bytes, body: bytes = b"1") -> bytes:
    return b"--x\r\n%b\r\n\r\n%b\r\n" % (head, body)


FIELD = b'Content-Disposition: form-data; name="a"'


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (form(b"GIF89a/*" + SCRIPT), 413, "pixels"),
        (form(b"GIF89a\x01\0\x01\0" + SCRIPT), 415, "broken"),
        (form(b"\x89PNG\r\n\x1a\n" + SCRIPT), 415, ""),
        (form(b"%PDF-1.4\n" + photo()), 415, "a PDF document"),
        (form(b"<html>" + photo()), 415, "a web page (HTML)"),
        (form(b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>"), 415, "an SVG drawing"),
        (form(b"\xef\xbb\xbf  <!-- x --><svg>" + SCRIPT, mime_type=b"image/svg+xml"), 415, "SVG"),
        (form(zipped()), 415, "not a picture"),
        (form(drawn("TIFF")), 415, "TIFF"),
        (form(drawn("ICO")), 415, "icon"),
        (form(drawn("EPS")), 415, "PostScript"),
        (form(PNG, field=b"file"), 400, "no file in the field “image”"),
        (
            part(b'Content-Disposition: form-data; name="image"', b"https://images.example/a.png") + b"--x--",
            400,
            "field",
        ),
        (form(PNG, name=b"x" * 5_000), 400, ONE_FILE),
        (form(PNG)[:-7] + b"\r\n" + form(PNG), 400, ONE_FILE),
        (part(FIELD) * 10_000 + form(PNG), 400, ONE_FILE),
        (part(FIELD, b"1" * 5_000_000) + form(PNG), 400, ONE_FILE),
        (part(b"X: " + b"1" * 19_000_000) + form(PNG), 400, ONE_FILE),
        (part(b"A: 1\r\n" * 100_000 + FIELD) + form(PNG), 400, ONE_FILE),
        (b"", 400, "no file in the field “image”"),
    ],
    ids=[
        *("gif and javascript", "gif and html", "png and html", "pdf and jpeg", "html and jpeg", "xml", "svg", "zip"),
        *("tiff", "ico", "eps", "other field", "address", "long name", "two files", "many fields"),
        *("long field", "long header", "many headers", "nothing"),
    ],
)
async def test_a_body_that_is_no_form_with_an_image_is_refused_with_the_reason_and_uses_no_grant(
    body: bytes, status: int, reason: str, tmp_path: Path
) -> None:
    async with upload_page(tmp_path) as (uploads, send):
        request = await uploads.ask("alice")
        answer = await send(request, body)
        assert answer.status_code == status
        assert reason in answer.json()["message"]
        assert await uploads.arrived(request) == []
        assert await uploads.open_grant(request.grant) == request
        assert list(tmp_path.glob("images/files/*/*")) == []


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=y", 400),
        (f"multipart/form-data; boundary={'y' * 5_000}", 400),
        ("multipart/mixed; boundary=x", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json", 415),
        ("text/plain", 415),
        ("image/png", 415),
        ("", 415),
    ],
)
async def test_a_body_of_another_type_is_refused(content_type: str, status: int, tmp_path: Path) -> None:
    async with upload_page(tmp_path) as (uploads, send):
        answer = await send(await uploads.ask("alice"), form(PNG), content_type)
        assert answer.status_code == status
        assert "“image”" in answer.json()["message"]


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (photo() + zipped(), {"mime_type": b"image/svg+xml", "name": b"../../../etc/passwd"}),
        (drawn("JPEG", comment=SCRIPT), {"mime_type": b"text/html", "name": b"C:\\\\windows\\\\a.exe\0.png"}),
        (png_with_text(SCRIPT.decode() + "\0" * 5_000_000), {"name": b"\xff\xfe"}),
    ],
    ids=["jpeg and zip", "jpeg with a script", "text bomb"],
)
async def test_of_an_image_that_is_more_the_pixels_alone_are_stored(
    data: bytes, options: dict[str, bytes], tmp_path: Path
) -> None:
    """Neither its name nor the type that it claims is used."""
    async with upload_page(tmp_path / "state") as (uploads, send):
        answer = await send(await uploads.ask("alice"), form(data, **options))
        assert answer.status_code == 200, answer.text
        reference = answer.json()
        assert reference["mime_type"] in ("image/jpeg", "image/png")
        stored = (await uploads.open(reference["resource_uri"].rpartition("/")[2], "alice")).data
        with Image.open(io.BytesIO(stored)) as image:
            assert image.size == (reference["width"], reference["height"])
        for extra in (b"script", b"PK\x03\x04", b"Phone of the tests", b"index.html"):
            assert extra not in stored
        assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]


async def test_a_body_that_does_not_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "MAX_READ_SECONDS", 0.05)

    async def endless() -> AsyncIterator[bytes]:
        yield form(PNG)[:30]
        await anyio.sleep_forever()

    async with upload_page(tmp_path) as (uploads, send):
        request = await uploads.ask("alice")
        answer = await send(request, endless())
        assert (answer.status_code, answer.json()["message"]) == (408, "The upload was not complete in time.")
        taken: Any = await send(request, form(PNG))
        assert taken.status_code == 200
