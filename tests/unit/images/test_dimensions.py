import random
import struct
import time

import pytest
from PIL import Image

from nano_banana_mcp.images.errors import ImageTooLarge
from nano_banana_mcp.images.formats import dimensions
from nano_banana_mcp.images.image import image_from_bytes
from tests.support.image_samples import PNG, drawn, png

SAMPLES = {
    "png": drawn("png"),
    "png with a palette": drawn("png", mode="P"),
    "gif": drawn("gif"),
    "bmp": drawn("bmp"),
    "jpeg": drawn("jpeg"),
    "progressive jpeg": drawn("jpeg", progressive=True),
    "jpeg with a comment full of markers": drawn("jpeg", comment=b"\xff\xc0\x00\x11\x08\xff\xff\xff\xff" * 20),
    "lossy webp": drawn("webp"),
    "lossless webp": drawn("webp", lossless=True),
    "webp with alpha": drawn("webp", mode="RGBA", exif=b"Exif\0\0II*\0"),
    "avif": drawn("avif"),
    "large avif": drawn("avif", size=(1300, 900)),
}
AVIF = b"\x00\x00\x00\x14ftypavif\x00\x00\x00\x00avif"


def sizes() -> list[tuple[str, tuple[int, int]]]:
    return [(name, (1300, 900) if name == "large avif" else (37, 21)) for name in SAMPLES]


@pytest.mark.parametrize(("name", "size"), sizes())
def test_the_size_is_read_from_the_header(name: str, size: tuple[int, int]) -> None:
    assert dimensions(SAMPLES[name]) == size


def test_a_bmp_may_have_its_rows_from_top_to_bottom() -> None:
    upside_down = bytearray(SAMPLES["bmp"])
    upside_down[22:26] = struct.pack("<i", -21)
    assert dimensions(bytes(upside_down)) == (37, 21)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_cut_or_spoiled_header_is_no_crash(name: str) -> None:
    data = SAMPLES[name]
    for length in range(min(len(data), 400)):
        dimensions(data[:length])
    chance = random.Random(name)
    for _ in range(200):
        spoiled = bytearray(data[:400])
        for _ in range(8):
            spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
        dimensions(bytes(spoiled))


@pytest.mark.parametrize("data", [b"", b"<html>", PNG[:20], png(0, 5), drawn("gif")[:7], b"\xff\xd8\xff\xd9"])
def test_a_header_without_dimensions_has_no_size(data: bytes) -> None:
    assert dimensions(data) is None


@pytest.mark.parametrize(
    ("head", "endless", "times"),
    [
        (b"\xff\xd8", b"\xff", 20_000_000),
        (b"\xff\xd8\xff", b"\x01\xff", 10_000_000),
        (b"\xff\xd8\xff\xe0\x00\x02", b"\0", 20_000_000),
        (b"\xff\xd8", b"\xff\xe0\x00\x02", 5_000_000),
        (AVIF, b"\x00\x00\x00\x14ispe\x00\x00\x00\x00\x00\x00\x00\x01", 999_999),
        (AVIF, b"\0", 20_000_000),
    ],
    ids=["fill", "markers", "zeros", "segments", "extents", "nothing"],
)
def test_a_header_without_end_takes_no_time(head: bytes, endless: bytes, times: int) -> None:
    data = head + endless * times
    started = time.thread_time()
    dimensions(data)
    assert time.thread_time() - started < 1


@pytest.mark.parametrize(
    "bomb",
    [
        png(50_000, 50_000),
        png(2**31 - 1, 2**31 - 1),
        b"GIF89a\xff\x7f\xff\x7f".ljust(40, b"\0"),
        SAMPLES["jpeg"].replace(struct.pack(">HH", 21, 37), b"\xff\xff\xff\xff"),
        SAMPLES["avif"].replace(struct.pack(">II", 37, 21), struct.pack(">II", 60_000, 60_000)),
        b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0f\xff\xff\x0f",
    ],
    ids=["png", "largest png", "gif", "jpeg", "avif", "webp"],
)
def test_a_pixel_bomb_is_refused_before_anything_decodes_it(bomb: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", pytest.fail)
    with pytest.raises(ImageTooLarge, match="pixels"):
        image_from_bytes(bomb, source="The file")


def test_the_pixel_cap_is_inclusive() -> None:
    assert image_from_bytes(png(100, 10), source="The file", max_pixels=1000).mime_type == "image/png"
    with pytest.raises(ImageTooLarge):
        image_from_bytes(png(1001, 1), source="The file", max_pixels=1000)


def test_an_image_whose_header_is_not_understood_is_still_an_image() -> None:
    """It is paid for, and the host application may be able to show it."""
    assert image_from_bytes(PNG[:20], source="The file").mime_type == "image/png"
