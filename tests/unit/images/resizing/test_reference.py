"""Reference images are converted to a form that the API accepts."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import ExifTags, Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from pillow_heif import register_heif_opener

from nano_banana_mcp.images.data_uri import to_data_uri
from nano_banana_mcp.images.errors import ImageTooLarge, NotAnImage
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.resizing import reference
from nano_banana_mcp.images.resizing.reference import fit_reference
from nano_banana_mcp.images.resizing.resize import ShrunkImage, shrink
from tests.support.image_samples import drawn, png

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker, which has tests of its own, does the same in another process: a process per image takes long."""

    async def shrink_here(image: EncodedImage, *, max_seconds: float, **options: Any) -> ShrunkImage:
        return shrink(image, **options)

    monkeypatch.setattr(reference, "shrink_in_worker", shrink_here)


def opened(encoded: EncodedImage) -> Image.Image:
    with Image.open(io.BytesIO(encoded.data)) as image:
        image.load()
        assert f"image/{(image.format or '').lower()}" == encoded.mime_type
        return image


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
async def test_an_image_that_fits_is_sent_as_it_is(kind: str) -> None:
    encoded = EncodedImage(drawn(kind.upper(), (2048, 100)), f"image/{kind}")
    assert await fit_reference(encoded, max_side=2048) == encoded


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
async def test_a_longer_one_is_shrunk_to_the_longest_side_and_keeps_its_shape(kind: str) -> None:
    small = opened(await fit_reference(EncodedImage(drawn(kind, (3000, 1500)), f"image/{kind.lower()}"), max_side=1000))
    assert small.size == (1000, 500)


async def test_a_shrunk_reference_keeps_its_transparency() -> None:
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


async def test_an_iphone_photo_becomes_an_upright_jpeg_without_its_location() -> None:
    register_heif_opener()
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = 6  # the top is on the right
    tags[ExifTags.IFD.GPSInfo] = {1: "N", 2: (37.0, 33.0, 0.0)}
    photo = Image.new("RGB", (300, 200), "red")
    photo.paste("blue", (0, 0, 100, 100))
    file = io.BytesIO()
    photo.save(file, "HEIF", exif=tags.tobytes(), quality=-1)
    sent = opened(await fit_reference(EncodedImage(file.getvalue(), "image/heic"), max_side=2048))
    assert sent.size == (200, 300)
    pixel = sent.getpixel((190, 10))
    assert isinstance(pixel, tuple)
    assert pixel[2] > 200 > 50 > pixel[0]
    assert not sent.getexif()


async def test_a_broken_iphone_photo_is_named_as_one_with_what_to_do() -> None:
    photo = EncodedImage(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "image/heic")
    with pytest.raises(NotAnImage, match=r"an iPhone photo \(HEIC\), is broken") as caught:
        await fit_reference(photo, max_side=2048)
    assert "Export it as JPEG" in str(caught.value)


async def test_a_photo_that_was_taken_sideways_is_turned_upright_and_loses_its_location() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6  # turned by 90 degrees
    tags[0x010E] = "somewhere secret"
    photo = EncodedImage(drawn("JPEG", (3000, 1500), exif=tags.tobytes()), "image/jpeg")
    small = await fit_reference(photo, max_side=1000)
    assert opened(small).size == (500, 1000)
    assert b"somewhere secret" not in small.data


SECRET = b"somewhere secret"
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>somewhere secret</x:xmpmeta>"


def photo(kind: str, orientation: int = 1) -> EncodedImage:
    """A photo with its place in EXIF, XMP and a text, and with something behind its end."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010E] = SECRET.decode()
    tags.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    options: dict[str, object] = {"exif": tags.tobytes(), "xmp": XMP, "comment": SECRET, "lossless": True}
    if kind == "PNG":
        texts = PngInfo()
        texts.add_text("Comment", SECRET.decode())
        texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options["pnginfo"] = texts
    trailer = b"" if kind == "WEBP" else b"ftypmp42 " + SECRET + b"\xff\xda\xff\xd8"
    file = io.BytesIO()
    picture = Image.new("RGB", (60, 30), "red")
    picture.paste("blue", (30, 0, 60, 30))
    picture.save(file, kind, **options)
    assert SECRET in file.getvalue()
    return EncodedImage(file.getvalue() + trailer, f"image/{kind.lower()}")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
async def test_a_photo_that_fits_is_sent_upright_and_without_anything_but_its_pixels(
    kind: str, orientation: int
) -> None:
    sent = await fit_reference(photo(kind, orientation), max_side=2048)
    assert SECRET not in sent.data
    assert b"xmpmeta" not in sent.data
    assert b"Exif" not in sent.data
    image = opened(sent).convert("RGB")
    assert not image.getexif()
    assert image.size == ((30, 60) if orientation == 6 else (60, 30))
    red, _, blue = image.getpixel((2, 2))  # type: ignore[misc]  # of an RGB image
    assert (red > blue) == (orientation != 3)


async def test_the_colours_of_a_profile_stay_right_in_another_form() -> None:
    """Green of a wide profile, as numbers of sRGB, where the image has to be converted."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    assert profile  # a profile that does not fit RGB is ignored
    same = EncodedImage(drawn("PNG", (3000, 1500), icc_profile=profile), "image/png")
    assert opened(await fit_reference(same, max_side=1000)).size == (1000, 500)
    lab = ImageCms.createProfile("sRGB")
    image = EncodedImage(drawn("PNG", icc_profile=ImageCms.ImageCmsProfile(lab).tobytes()), "image/png")
    assert opened(await fit_reference(image, max_side=1000)).info.get("icc_profile")


async def test_a_cmyk_photo_that_fits_becomes_rgb() -> None:
    sent = await fit_reference(EncodedImage(drawn("JPEG", mode="CMYK"), "image/jpeg"), max_side=2048)
    assert opened(sent).mode == "RGB"


@pytest.mark.parametrize("max_side", [30, 2048])
async def test_an_image_with_megabytes_of_text_or_profile_or_a_wrong_checksum_is_accepted(max_side: int) -> None:
    texts = PngInfo()
    texts.add_text("workflow", "{}" * 1_500_000, zip=True)
    large = drawn("PNG", pnginfo=texts, icc_profile=bytes(range(256)) * 9_000)
    spoiled = drawn("PNG", pnginfo=texts)
    at = spoiled.index(b"zTXt")
    spoiled = spoiled[: at + 20] + b"!" + spoiled[at + 21 :]
    spoiled_end = drawn("PNG")[:-1] + b"!"
    without_end = drawn("PNG")[:-12]
    for data in (large, spoiled, spoiled_end, without_end):
        sent = await fit_reference(EncodedImage(data, "image/png"), max_side=max_side)
        assert opened(sent).width == min(37, max_side)
        assert sent.mime_type != "image/png" or sent.data.endswith(drawn("PNG")[-12:])


@pytest.mark.parametrize("max_side", [30, 2048])
async def test_a_jpeg_without_its_end_mark_is_whole_but_one_that_is_cut_off_is_not(max_side: int) -> None:
    file = io.BytesIO()
    Image.effect_noise((300, 200), 90).convert("RGB").save(file, "JPEG")
    whole = file.getvalue()
    sent = await fit_reference(EncodedImage(whole[:-2], "image/jpeg"), max_side=max_side)
    assert opened(sent).width == min(300, max_side)
    with pytest.raises(NotAnImage, match="broken or cut off"):
        await fit_reference(EncodedImage(whole[: len(whole) // 2], "image/jpeg"), max_side=max_side)


async def test_a_format_that_cannot_be_converted_is_refused_with_what_to_do() -> None:
    with pytest.raises(NotAnImage, match="TIFF") as caught:
        await fit_reference(EncodedImage(drawn("TIFF"), "image/tiff"), max_side=2048)
    assert "Export it as PNG" in str(caught.value)


async def test_a_heavy_image_becomes_light_enough() -> None:
    noise = Image.effect_noise((1500, 1500), 200).convert("RGB")
    file = io.BytesIO()
    noise.save(file, "PNG")
    heavy = EncodedImage(file.getvalue(), "image/png")
    light = await fit_reference(heavy, max_side=2048, max_bytes=500_000)
    assert len(light.data) <= 500_000 < len(heavy.data)
    assert max(opened(light).size) >= 512


@pytest.mark.parametrize("max_side", [2_048, 16_000])
async def test_an_image_with_too_many_pixels_is_not_decoded(max_side: int) -> None:
    with pytest.raises(ImageTooLarge, match="9900 x 9900"):
        await fit_reference(EncodedImage(png(9_900, 9_900), "image/png"), max_side=max_side)


@pytest.mark.parametrize(("mode", "side"), [("RGBA", 5_200), ("I;16", 5_200)])
async def test_references_may_have_more_pixels_than_what_is_looked_at(mode: str, side: int) -> None:
    huge = EncodedImage(drawn("PNG", (side, side), mode), "image/png")
    assert opened(await fit_reference(huge, max_side=500)).size == (500, 500)


@pytest.mark.parametrize("data", [png(3_000, 3_000), b"\x89PNG\r\n\x1a\n" + b"x" * 99])
async def test_an_image_that_must_be_shrunk_but_cannot_be_opened_is_refused_with_a_message(data: bytes) -> None:
    with pytest.raises(NotAnImage, match="The reference picture is broken or cut off"):
        await fit_reference(EncodedImage(data, "image/png"), max_side=2048)


def test_an_image_as_text_is_a_data_uri() -> None:
    head, _, text = to_data_uri(EncodedImage(b"abc", "image/png")).partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(text) == b"abc"
