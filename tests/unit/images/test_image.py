"""A truncated image is distinguished from a whole one where the format says how long it is."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from nano_banana_mcp.images.errors import ImageUnavailable
from nano_banana_mcp.images.image import is_truncated
from tests.support.fake_internet import Host, NewFetcher
from tests.support.image_samples import PNG

URL = "https://pictures.example/a.png"


def drawn(form: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_length_but_the_whole_one_is_truncated(form: str, progressive: bool) -> None:
    data = drawn(form, progressive=progressive) if form == "jpeg" else drawn(form)
    assert not is_truncated(data, f"image/{form}")
    assert not is_truncated(data + b"\x00 what some programs leave behind", f"image/{form}")
    for length in (len(data) - 2, len(data) // 2, len(data) * 9 // 10):
        if form == "png" and length == len(data) - 2:
            continue  # only the check sum of the empty last part is cut: nothing of the picture
        assert is_truncated(data[:length], f"image/{form}"), length


@pytest.mark.parametrize("mime_type", ["image/gif", "image/avif", "image/bmp"])
def test_formats_that_do_not_say_are_taken_as_they_are(mime_type: str) -> None:
    assert not is_truncated(b"anything", mime_type)


async def test_an_answer_without_a_length_that_is_truncated_is_no_image_and_can_be_asked_for_again(
    new_fetcher: NewFetcher, host: Host
) -> None:
    fetcher = new_fetcher()
    host.answers["/a.png"] = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + PNG[:-20]
    with pytest.raises(ImageUnavailable, match="breaks off") as caught:
        await fetcher.fetch(URL)
    assert "again" in caught.value.hint
    host.answers["/a.png"] = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + PNG
    assert (await fetcher.fetch(URL)).data == PNG


@pytest.mark.parametrize(("form", "mark_bytes"), [("jpeg", 2), ("png", 12)])
async def test_an_image_without_its_end_mark_is_whole_where_its_length_was_announced(
    new_fetcher: NewFetcher, host: Host, form: str, mark_bytes: int
) -> None:
    fetcher = new_fetcher()
    data = drawn(form)[:-mark_bytes]
    host.answers["/a.png"] = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)
    assert (await fetcher.fetch(URL)).data == data
    host.answers["/a.png"] = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + data
    with pytest.raises(ImageUnavailable, match="breaks off"):
        await fetcher.fetch(URL)


@pytest.mark.parametrize("form", ["png", "webp"])
async def test_an_image_without_its_last_pixels_is_asked_for_again_though_its_length_was_fulfilled(
    new_fetcher: NewFetcher, host: Host, form: str
) -> None:
    fetcher = new_fetcher()
    whole = drawn(form)
    for length in (len(whole) // 2, len(whole) - 13):
        host.answers["/a.png"] = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (length, whole[:length])
        with pytest.raises(ImageUnavailable, match="breaks off") as caught:
            await fetcher.fetch(URL)
        assert "again" in caught.value.hint
    host.answers["/a.png"] = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(whole), whole)
    assert (await fetcher.fetch(URL)).data == whole


def test_a_trailer_with_marks_of_its_own_does_not_make_a_jpeg_truncated() -> None:
    video = b"\x00\x00\x00\x18ftypmp42" + b"\xff\xda\x00\x08 no end"
    assert not is_truncated(drawn("jpeg") + video, "image/jpeg")
    preview = drawn("jpeg")
    with_preview = drawn("jpeg", exif=b"Exif\0\0" + preview)
    assert not is_truncated(with_preview, "image/jpeg")
    assert is_truncated(with_preview[:-2], "image/jpeg")
