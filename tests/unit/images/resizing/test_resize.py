"""Every kind of image is shrunk."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import zlib
from typing import Any

import pytest
from PIL import Image

from nano_banana_mcp.images.errors import ImageError, ImageTooLarge, NotAnImage
from nano_banana_mcp.images.formats import sniff
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.resizing import resize as module
from nano_banana_mcp.images.resizing.resize import ShrunkImage, shrink
from tests.support.image_samples import drawn, png

pytestmark = pytest.mark.slow

RED, GREEN, BLUE, WHITE = (220, 20, 20), (20, 200, 20), (20, 20, 220), (255, 255, 255)


def encoded(data: bytes) -> EncodedImage:
    mime_type = sniff(data)
    assert mime_type is not None
    return EncodedImage(data, mime_type)


def shrunk(data: bytes, *, max_side: int = 256, max_bytes: int = 500_000) -> ShrunkImage:
    """Made small, and held to what is promised of every one."""
    small = shrink(encoded(data), max_side=max_side, max_bytes=max_bytes)
    assert len(small.data) <= max_bytes
    assert max(small.size) <= max_side
    assert sniff(small.data) == small.mime_type
    assert opened(small).size == small.size
    return small


def opened(small: EncodedImage) -> Image.Image:
    image = Image.open(io.BytesIO(small.data))
    image.load()
    return image


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def flag(mode: str = "RGB", size: tuple[int, int] = (600, 300)) -> Image.Image:
    """Red to the left, blue to the right, and green at the lower left."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    image.paste(GREEN, (0, size[1] // 2, size[0] // 2, size[1]))
    return image.convert(mode)


def noise(mode: str, side: int) -> Image.Image:
    image = Image.effect_noise((side, side), 120)
    return Image.merge(mode, [image.rotate(90 * turn) for turn in range(len(mode))])


def close(pixel: Any, wanted: tuple[int, int, int], by: int = 40) -> bool:
    return all(abs(one - other) <= by for one, other in zip(pixel[:3], wanted, strict=True))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP"])
def test_every_kind_is_shrunk_in_its_own_shape_and_colours(kind: str) -> None:
    small = shrunk(saved(flag(), kind))
    assert small.size == (256, 128)
    assert small.original_size == (600, 300)
    assert small.mime_type == "image/jpeg"
    assert not small.untouched
    assert not small.still
    image = opened(small).convert("RGB")
    assert close(image.getpixel((60, 30)), RED)
    assert close(image.getpixel((60, 100)), GREEN)
    assert close(image.getpixel((200, 60)), BLUE)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_an_image_that_fits_is_returned_unchanged(kind: str) -> None:
    data = drawn(kind)
    small = shrunk(data)
    assert small.data == data
    assert small.untouched
    assert small.size == small.original_size == (37, 21)


@pytest.mark.parametrize("kind", ["BMP", "AVIF"])
def test_a_kind_that_not_every_host_shows_is_changed_even_where_it_fits(kind: str) -> None:
    small = shrunk(drawn(kind))
    assert small.mime_type == "image/jpeg"
    assert small.size == (37, 21)


def test_nothing_is_enlarged() -> None:
    assert shrunk(saved(flag(size=(40, 20)), "BMP"), max_side=2048).size == (40, 20)


def test_transparent_parts_stay_transparent() -> None:
    image = flag("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 300, 150))
    small = shrunk(saved(image, "PNG"))
    again = opened(small).convert("RGBA")
    assert small.mime_type == "image/webp"
    assert again.getchannel("A").getpixel((40, 20)) == 0
    assert again.getchannel("A").getpixel((200, 100)) == 255
    assert close(again.getpixel((200, 100)), BLUE)


def test_an_alpha_channel_that_hides_nothing_is_dropped() -> None:
    assert shrunk(saved(flag("RGBA"), "PNG")).mime_type == "image/jpeg"


@pytest.mark.parametrize(("mode", "options"), [("P", {"transparency": 0}), ("RGB", {"transparency": RED})])
def test_a_transparent_colour_is_transparent_too(mode: str, options: dict[str, Any]) -> None:
    image = flag().quantize(8) if mode == "P" else flag()
    if mode == "P":
        options = {"transparency": image.getpixel((10, 10))}
    again = opened(shrunk(saved(image, "PNG", **options))).convert("RGBA")
    assert again.getchannel("A").getpixel((40, 20)) == 0
    assert again.getchannel("A").getpixel((200, 60)) == 255


UPRIGHT = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),  # stored so that turning it clockwise puts it upright
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


@pytest.mark.parametrize(("kind", "max_side"), [("JPEG", 256), ("JPEG", 1024), ("PNG", 256)])
@pytest.mark.parametrize("orientation", list(UPRIGHT))
def test_an_image_stands_upright_whatever_its_exif_data_say(orientation: int, max_side: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    small = shrunk(saved(UPRIGHT[orientation](flag()), kind, exif=exif), max_side=max_side)
    image = opened(small).convert("RGB")
    assert "exif" not in image.info or orientation == 1
    wide, high = image.size
    assert wide == 2 * high
    assert close(image.getpixel((wide // 4, high // 5)), RED)
    assert close(image.getpixel((wide // 4, high * 4 // 5)), GREEN)
    assert close(image.getpixel((wide * 4 // 5, high // 2)), BLUE)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_spoiled_exif_data_spoil_no_image() -> None:
    assert shrunk(saved(flag(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")).size == (256, 128)


def test_cmyk_is_shown_in_its_colours() -> None:
    for size in ((600, 300), (60, 30)):
        small = shrunk(saved(flag("CMYK", size), "JPEG", quality=95))
        image = opened(small)
        assert image.mode == "RGB"
        assert close(image.getpixel((image.width * 4 // 5, image.height // 2)), BLUE, by=60)


@pytest.mark.parametrize("side", [40, 600])
def test_sixteen_bits_of_grey_keep_their_shades(side: int) -> None:
    values = struct.pack(f"<{side}H", *(65_535 * x // (side - 1) for x in range(side))) * side
    data = saved(Image.frombytes("I;16", (side, side), values), "PNG")
    image = opened(shrunk(data)).convert("L")
    shades = [image.getpixel((image.width * x // 10, image.height // 2)) for x in (1, 5, 9)]
    for shade, wanted in zip(shades, (26, 128, 230), strict=True):
        assert isinstance(shade, int | float)
        assert abs(shade - wanted) < 16


def test_sixteen_bits_of_colour_keep_their_colours() -> None:
    row = b"\0" + struct.pack(">3H", 0xDC00, 0x1400, 0x1400) * 600

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 600, 300, 16, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(row * 300)), chunk(b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(parts)
    assert close(opened(shrunk(data)).getpixel((9, 9)), RED)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
def test_few_colours_and_greys_are_shrunk_smoothly(mode: str) -> None:
    stripes = Image.new("L", (1024, 64))
    for x in range(0, 1024, 2):
        stripes.paste(255, (x, 0, x + 1, 64))
    image = opened(shrunk(saved(stripes.convert(mode), "PNG"))).convert("L")
    grey = image.getpixel((100, 8))
    assert isinstance(grey, int | float)
    assert 90 < grey < 170


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_shown_and_named_as_one(kind: str) -> None:
    frames = [Image.new("RGB", (600, 300), colour) for colour in (RED, GREEN, BLUE)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    small = shrunk(data)
    assert small.still
    assert close(opened(small).convert("RGB").getpixel((9, 9)), RED)
    assert getattr(opened(small), "n_frames", 1) == 1
    whole = shrunk(data, max_side=1024)
    assert whole.data == data
    assert not whole.still


def test_the_quality_is_lowered_before_the_size() -> None:
    data = saved(noise("RGB", 512), "PNG")
    sizes = []
    for most in (200_000, 60_000, 5_000, 600):
        small = shrunk(data, max_side=512, max_bytes=most)
        sizes.append(small.size[0])
        assert small.size[0] == small.size[1]
        assert len(small.data) > most / 5
    assert sizes[0] == 512
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 100


def test_transparent_noise_is_made_small_enough_too() -> None:
    small = shrunk(saved(noise("RGBA", 512), "PNG"), max_side=512, max_bytes=20_000)
    assert small.mime_type == "image/webp"


def test_an_image_that_cannot_be_made_that_small_is_refused() -> None:
    with pytest.raises(ImageTooLarge, match="10 bytes"):
        shrink(encoded(drawn("PNG")), max_side=64, max_bytes=10)


@pytest.mark.parametrize("size", [(4_000, 1), (1, 4_000), (1, 1)])
def test_the_odd_shapes_are_images_too(size: tuple[int, int]) -> None:
    small = shrunk(saved(Image.new("RGB", size), "BMP"))
    assert min(small.size) == 1


def test_the_colours_of_a_profile_are_converted_to_srgb() -> None:
    from PIL import ImageCms

    # Its numbers are those of sRGB with red and green exchanged, so that a profile that is ignored shows.
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * profile[131], 12)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    profile[red + 4 : red + 12], profile[green + 4 : green + 12] = (
        profile[green + 4 : green + 12],
        profile[red + 4 : red + 12],
    )
    small = opened(shrunk(saved(Image.new("RGB", (600, 300), RED), "PNG", icc_profile=bytes(profile))))
    assert "icc_profile" not in small.info
    assert close(small.getpixel((9, 9)), (RED[1], RED[0], RED[2]))


def test_nothing_but_pixels_is_handed_on() -> None:
    exif = Image.Exif()
    exif[0x010E] = "where it was taken"
    for kind in ("JPEG", "WEBP", "PNG"):
        small = shrunk(saved(flag(), kind, exif=exif, xmp=b"<x:xmpmeta>where it was taken</x:xmpmeta>"))
        assert b"where it was taken" not in small.data


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP"])
@pytest.mark.parametrize(("side", "left"), [(128, 0.1), (128, 0.5), (128, 0.9), (600, 0.5)])
def test_a_truncated_image_is_refused_with_a_message(kind: str, side: int, left: float) -> None:
    data = saved(noise("RGB", side), kind)
    cut = data[: round(len(data) * left)]
    with pytest.raises(NotAnImage, match="broken or cut off"):
        shrink(encoded(cut), max_side=256, max_bytes=500_000)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP"])
def test_spoiled_bytes_are_an_image_or_refused_and_nothing_else(kind: str) -> None:
    data = saved(flag(size=(64, 32)), kind)
    refused = 0
    for place in range(16, len(data), max(1, len(data) // 60)):
        spoiled = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
        try:
            shrink(EncodedImage(spoiled, f"image/{kind.lower()}"), max_side=16, max_bytes=500_000)
        except ImageError:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize("size", [(20_000, 20_000), (2**31 - 1, 2**31 - 1), (50_000_001, 1)])
def test_a_pixel_bomb_is_refused_before_it_is_decoded(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", None)
    with pytest.raises(ImageTooLarge, match="million"):
        shrink(encoded(png(*size)), max_side=256, max_bytes=500_000)


@pytest.mark.parametrize(
    ("kind", "mode", "size", "most"),
    [
        ("PNG", "RGBA", (5_001, 5_000), 25),
        ("WEBP", "RGB", (5_001, 5_000), 25),
        ("JPEG", "RGB", (8_001, 6_250), 50),
    ],
)
def test_fewer_pixels_are_decoded_where_that_takes_copies(
    kind: str, mode: str, size: tuple[int, int], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(Image.new(mode, size), kind, method=0, compress_level=1)  # fast
    monkeypatch.setattr(Image.Image, "thumbnail", None)
    with pytest.raises(ImageTooLarge, match=f"at most {most} million"):
        shrink(encoded(data), max_side=256, max_bytes=500_000)


@pytest.mark.parametrize(("kind", "mode", "size"), [("JPEG", "RGB", (8_000, 6_250))])
def test_the_pixel_cap_is_inclusive(kind: str, mode: str, size: tuple[int, int]) -> None:
    assert shrunk(saved(Image.new(mode, size), kind)).original_size == size


def test_a_bomb_with_an_unsupported_header_is_refused_by_the_size_that_the_decoder_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "dimensions", lambda data: None)
    for size in ((9_000, 9_000), (12_000, 12_000), (20_000, 20_000)):
        with pytest.raises(ImageTooLarge, match="pixels"):
            shrink(encoded(png(*size)), max_side=256, max_bytes=500_000)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_compressed_bomb_beside_the_pixels_takes_no_memory(kind: bytes) -> None:
    explosive = zlib.compress(bytes(100_000_000), 1)
    heads = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}
    body = heads[kind] + explosive
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    data = saved(flag(), "PNG")
    tracemalloc.start()
    try:
        with contextlib.suppress(ImageError):
            shrink(encoded(data[:33] + chunk + data[33:]), max_side=256, max_bytes=500_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000
