"""Metadata is written into images, and their pixels stay as they are."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from nano_banana_mcp.images.formats import sniff
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.saving.metadata import ImageMetadata, embed_metadata

METADATA = ImageMetadata(
    task_id="ta823dfb",
    number=0,
    created_at=1_795_000_000.0,
    prompt='새벽의 등대 <&> "quoted"\nsecond line',
    model="google/gempix2",
)
NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "ext": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}


def gradient(mode: str) -> Image.Image:
    channels = [Image.linear_gradient("L").resize((37, 21)).rotate(angle) for angle in (0, 90, 180, 45)]
    return Image.merge("RGBA", channels).convert(mode)


def encoded(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    gradient(mode).save(file, kind, **options)
    return file.getvalue()


def exif() -> bytes:
    tags = Image.Exif()
    tags[0x010E] = "from before"
    return tags.tobytes()


IMAGES = {
    "png": encoded("PNG"),
    "png with alpha": encoded("PNG", "RGBA"),
    "png with palette": encoded("PNG", "P"),
    "grey png": encoded("PNG", "L"),
    "png with exif": encoded("PNG", exif=exif()),
    "jpeg": encoded("JPEG"),
    "grey jpeg": encoded("JPEG", "L"),
    "progressive jpeg": encoded("JPEG", progressive=True),
    "jpeg with exif": encoded("JPEG", exif=exif()),
    "jpeg with a comment": encoded("JPEG", comment=b"from before"),
}


def encoded_image(data: bytes) -> EncodedImage:
    return EncodedImage(data, sniff(data) or "application/octet-stream")


def frames(data: bytes) -> list[tuple[str, bytes]]:
    with Image.open(io.BytesIO(data)) as opened:
        seen = []
        for number in range(getattr(opened, "n_frames", 1)):
            opened.seek(number)
            seen.append((opened.mode, opened.convert("RGBA").tobytes()))
        return seen


def xmp_of(data: bytes) -> ElementTree.Element:
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        packet = opened.info["xmp"]
    return ElementTree.fromstring(packet if isinstance(packet, str) else packet.decode())


@pytest.mark.parametrize("name", IMAGES)
def test_the_metadata_is_in_the_file_and_the_pixels_are_the_same(name: str) -> None:
    before = IMAGES[name]
    after = embed_metadata(encoded_image(before), METADATA)
    assert after != before
    assert sniff(after) == sniff(before)
    assert frames(after) == frames(before)
    root = xmp_of(after)
    assert root.findtext(".//dc:description/rdf:Alt/rdf:li", namespaces=NAMESPACES) == METADATA.prompt
    assert root.findtext(".//ext:AIPromptInformation", namespaces=NAMESPACES) == METADATA.prompt
    assert root.findtext(".//ext:AISystemUsed", namespaces=NAMESPACES) == "google/gempix2"
    assert root.findtext(".//dc:identifier", namespaces=NAMESPACES) == "ta823dfb"
    assert root.findtext(".//xmp:CreateDate", namespaces=NAMESPACES) == "2026-11-18T11:06:40Z"
    source = root.findtext(".//ext:DigitalSourceType", "", NAMESPACES)
    assert source.endswith("/trainedAlgorithmicMedia")
    with Image.open(io.BytesIO(after)) as opened:
        if "exif" in name:
            assert opened.getexif()[0x010E] == "from before"
        if "comment" in name:
            assert opened.info["comment"] == b"from before"


def test_a_png_has_the_metadata_as_plain_text_too() -> None:
    with Image.open(io.BytesIO(embed_metadata(encoded_image(IMAGES["png"]), METADATA))) as opened:
        assert isinstance(opened, PngImageFile)
        texts = opened.text
    assert texts["Description"] == METADATA.prompt
    assert texts["Model"] == "google/gempix2"
    assert texts["Task ID"] == "ta823dfb"
    assert texts["Creation Time"] == "2026-11-18T11:06:40Z"
    assert texts["Software"] == "nano-banana-mcp"


def test_a_drawing_of_the_sandbox_is_marked_as_one() -> None:
    drawn = embed_metadata(encoded_image(IMAGES["png"]), replace(METADATA, is_from_sandbox=True))
    with Image.open(io.BytesIO(drawn)) as opened:
        assert isinstance(opened, PngImageFile)
        assert opened.text["Software"] == "nano-banana-mcp (sandbox)"
    source = xmp_of(drawn).findtext(".//ext:DigitalSourceType", namespaces=NAMESPACES)
    assert source is not None
    assert source.endswith("/algorithmicMedia")


def test_the_jpeg_keeps_its_jfif_header_first_and_its_exif_second() -> None:
    before = encoded("JPEG", exif=exif())
    after = embed_metadata(encoded_image(before), METADATA)
    assert after[:4] == before[:4]
    assert after.index(b"Exif\0\0") < after.index(b"http://ns.adobe.com/xap/1.0/\0")


@pytest.mark.parametrize("name", ["png", "jpeg"])
def test_metadata_is_not_added_twice(name: str) -> None:
    once = embed_metadata(encoded_image(IMAGES[name]), METADATA)
    twice = embed_metadata(encoded_image(once), replace(METADATA, prompt="another"))
    assert xmp_of(twice).findtext(".//ext:AIPromptInformation", namespaces=NAMESPACES) == METADATA.prompt
    assert twice.count(b"<x:xmpmeta") == 1


def signed(kind: str) -> bytes:
    """A picture with a (pretended) C2PA manifest, which signs every byte around it."""
    data = IMAGES[kind]
    if kind == "png":
        return data[:33] + struct.pack(">I4sI", 0, b"caBX", 0) + data[33:]
    return data[:2] + b"\xff\xeb\x00\x0aJP\0\1\0\0\0\1" + data[2:]


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_signed_image_is_left_alone_so_that_its_signature_stays_good(kind: str) -> None:
    assert embed_metadata(encoded_image(signed(kind)), METADATA) == signed(kind)


@pytest.mark.parametrize(("kind", "mode"), [("GIF", "P"), ("WEBP", "RGB")])
def test_formats_without_metadata_of_ours_stay_as_they_are(kind: str, mode: str) -> None:
    data = encoded(kind, mode)
    assert embed_metadata(encoded_image(data), METADATA) == data


@pytest.mark.parametrize("name", IMAGES)
def test_a_truncated_image_stays_as_it_is_or_keeps_its_bytes_around_the_metadata(name: str) -> None:
    data = IMAGES[name]
    for end in range(12, len(data), 3):
        cut = data[:end]
        after = embed_metadata(encoded_image(cut), METADATA)
        # What is there of the picture is still there, in its order, around what was put in.
        assert after == cut or (after[:2] == cut[:2] and after.endswith(cut[-8:]))


@given(st.sampled_from(sorted(IMAGES)), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6))
@settings(max_examples=200, deadline=None)
def test_no_damaged_image_raises_or_loses_bytes(name: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(IMAGES[name])
    for place, value in changes:
        data[place % len(data)] = value
    assert len(embed_metadata(EncodedImage(bytes(data), sniff(IMAGES[name]) or ""), METADATA)) >= len(data)


@pytest.mark.parametrize("prompt", [None, "", "x" * 40_000, "등" * 40_000, "&" * 40_000, "\0\x1b\ud800\ufffe\u202e"])
@pytest.mark.parametrize("name", ["png", "jpeg"])
def test_no_prompt_damages_an_image(name: str, prompt: str | None) -> None:
    after = embed_metadata(encoded_image(IMAGES[name]), replace(METADATA, prompt=prompt))
    assert frames(after) == frames(IMAGES[name])
    if after != IMAGES[name]:  # a JPEG has no room for 40,000 escaped letters
        assert xmp_of(after).findtext(".//dc:identifier", namespaces=NAMESPACES) == "ta823dfb"
