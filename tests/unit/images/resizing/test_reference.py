"""Reference pictures, made acceptable to the API."""

from __future__ import annotations

import base64
import io
import sys

import pytest
from PIL import Image

from nano_banana_mcp.images.data_uri import to_data_uri
from nano_banana_mcp.images.errors import ImageTooLarge, ImageUnavailable, NotAnImage
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.resizing.reference import fit_reference
from tests.support.image_samples import drawn, png


def opened(encoded: EncodedImage) -> Image.Image:
    with Image.open(io.BytesIO(encoded.data)) as image:
        image.load()
        assert f"image/{(image.format or '').lower()}" == encoded.mime_type
        return image


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
async def test_a_image_that_fits_is_sent_as_it_is(kind: str) -> None:
    encoded = EncodedImage(drawn(kind.upper(), (2048, 100)), f"image/{kind}")
    assert await fit_reference(encoded, max_side=2048) is encoded


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
async def test_a_longer_one_is_shrunk_to_the_longest_side_and_keeps_its_shape(kind: str) -> None:
    small = opened(await fit_reference(EncodedImage(drawn(kind, (3000, 1500)), f"image/{kind.lower()}"), max_side=1000))
    assert small.size == (1000, 500)


async def test_what_shines_through_still_does() -> None:
    small = opened(await fit_reference(EncodedImage(drawn("PNG", (3000, 1500), "RGBA"), "image/png"), max_side=1000))
    assert small.mode == "RGBA"
    assert small.getpixel((5, 5)) == (0, 0, 0, 0)


@pytest.mark.parametrize(("kind", "mode"), [("GIF", "P"), ("BMP", "RGB")])
async def test_a_type_that_models_may_not_take_becomes_one_that_they_do(kind: str, mode: str) -> None:
    taken = await fit_reference(EncodedImage(drawn(kind, mode=mode), f"image/{kind.lower()}"), max_side=2048)
    assert taken.mime_type in ("image/jpeg", "image/webp")
    assert opened(taken).size == (37, 21)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "I;16", "CMYK", "1"])
async def test_every_kind_of_pixels_can_be_shrunk(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    small = await fit_reference(EncodedImage(drawn(kind, (600, 300), mode), f"image/{kind.lower()}"), max_side=300)
    assert opened(small).size == (300, 150)


async def test_a_photo_that_was_taken_sideways_stands_upright_and_tells_no_place() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6  # turned by 90 degrees
    tags[0x010E] = "somewhere secret"
    photo = EncodedImage(drawn("JPEG", (3000, 1500), exif=tags.tobytes()), "image/jpeg")
    small = await fit_reference(photo, max_side=1000)
    assert opened(small).size == (500, 1000)
    assert b"somewhere secret" not in small.data


async def test_a_heavy_image_becomes_light_enough() -> None:
    noise = Image.effect_noise((1500, 1500), 200).convert("RGB")
    file = io.BytesIO()
    noise.save(file, "PNG")
    heavy = EncodedImage(file.getvalue(), "image/png")
    light = await fit_reference(heavy, max_side=2048, max_bytes=500_000)
    assert len(light.data) <= 500_000 < len(heavy.data)
    assert max(opened(light).size) >= 512


@pytest.mark.parametrize("max_side", [2_048, 16_000])
async def test_a_image_with_too_many_pixels_is_not_decoded(max_side: int) -> None:
    with pytest.raises(ImageTooLarge, match="9900 x 9900"):
        await fit_reference(EncodedImage(png(9_900, 9_900), "image/png"), max_side=max_side)


async def test_it_is_decoded_in_another_process_and_only_where_it_has_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", None)
    large = EncodedImage(drawn("PNG", (3000, 1500)), "image/png")
    assert len((await fit_reference(large, max_side=1000)).data) < len(large.data)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert await fit_reference(large, max_side=3000) is large
    with pytest.raises(ImageUnavailable, match="starts no process"):
        await fit_reference(large, max_side=1000)


@pytest.mark.parametrize(("mode", "side"), [("RGBA", 5_200), ("I;16", 5_200)])
async def test_references_may_have_more_pixels_than_what_is_looked_at(mode: str, side: int) -> None:
    huge = EncodedImage(drawn("PNG", (side, side), mode), "image/png")
    assert opened(await fit_reference(huge, max_side=500)).size == (500, 500)


@pytest.mark.parametrize("data", [png(3_000, 3_000), b"\x89PNG\r\n\x1a\n" + b"x" * 99])
async def test_what_has_to_be_shrunk_and_cannot_be_opened_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(NotAnImage, match="The reference picture is broken or cut off"):
        await fit_reference(EncodedImage(data, "image/png"), max_side=2048)


def test_a_image_as_text_is_a_to_data_uri() -> None:
    head, _, text = to_data_uri(EncodedImage(b"abc", "image/png")).partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(text) == b"abc"
