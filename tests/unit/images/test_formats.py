import pytest

from nano_banana_mcp.images.formats import advice_for, describe, extension_for, guess_from_url, sniff
from tests.support.image_samples import PNG, drawn

SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "avif", "bmp"])
def test_an_image_is_recognised_by_its_bytes(kind: str) -> None:
    assert sniff(drawn(kind)) == f"image/{kind}"


@pytest.mark.parametrize(
    ("data", "mime_type", "words"),
    [
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "image/heic", "HEIC"),
        (b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1miafheix", "image/heic", "HEIC"),
        (b"II*\x00\x08\x00\x00\x00", "image/tiff", "TIFF"),
        (b"MM\x00*\x00\x00\x00\x08", "image/tiff", "TIFF"),
        (b"\xff\x0a\x00\x10", "image/jxl", "JPEG XL"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "image/jxl", "JPEG XL"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2", "JPEG 2000"),
    ],
)
def test_an_image_that_cannot_be_decoded_here_is_named_with_what_to_do(data: bytes, mime_type: str, words: str) -> None:
    assert sniff(data) == mime_type
    assert words in describe(data)
    assert "xport it as" in (advice_for(data) or "")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"8BPS\x00\x01", "Photoshop"),
        (b"\x00\x00\x01\x00\x01\x00", "icon"),
        (b"P6\n3 2\n255\n", "netpbm"),
        (b"PK\x03\x04", "ZIP"),
        (b"\x00\x00\x00\x18ftypqt  \x00\x00\x00\x00", "video"),
        (b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01", "raw photo"),
        (b"\x1aE\xdf\xa3", "video"),
        (b"qoif", "QOI"),
        (b"<svg:svg xmlns:svg='http://www.w3.org/2000/svg'/>", "SVG"),
    ],
)
def test_other_files_are_named_with_what_to_do(data: bytes, words: str) -> None:
    assert sniff(data) is None
    assert words in describe(data)
    assert advice_for(data)


@pytest.mark.parametrize("text", [b"P2P sharing, explained", b"PDF files"])
def test_a_text_is_not_taken_for_a_binary_format(text: bytes) -> None:
    assert describe(text) == "text"


def test_avif_is_recognised_by_a_compatible_brand() -> None:
    assert sniff(b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf") == "image/avif"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PN",
        b"RIFF\x10\x00\x00\x00WAVEfmt ",
        b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2",
        b"BMW builds cars, and this is a text.",
        b"<!doctype html><title>Not found</title>",
        SVG,
        b"%PDF-1.7",
    ],
)
def test_data_that_are_no_known_image_have_no_type(data: bytes) -> None:
    assert sniff(data) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "nothing"),
        (b"\xef\xbb\xbf\n <!DOCTYPE html>", "a web page (HTML)"),
        (b"<html>", "a web page (HTML)"),
        (SVG, "an SVG drawing"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML"),
        (b'{"code":1}', "JSON"),
        (b"error code: 1010", "text"),
        (b"\x1f\x8b\x08", "compressed data (gzip)"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\x00\x01\x02", "unknown data"),
    ],
)
def test_data_that_are_no_image_are_described_in_words(data: bytes, words: str) -> None:
    assert describe(data) == words


def test_an_extension_belongs_to_each_type() -> None:
    types = ("png", "jpeg", "webp", "gif", "avif", "bmp", "x-unheard-of")
    assert [extension_for(f"image/{kind}") for kind in types] == [
        ".png", ".jpg", ".webp", ".gif", ".avif", ".bmp", ".bin",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("url", "mime_type"),
    [
        ("https://files.example/a/b.JPG?sig=x.png#c.gif", "image/jpeg"),
        ("https://files.example/a.jpeg", "image/jpeg"),
        ("https://files.example/a.webp", "image/webp"),
        ("https://files.gif", "image/png"),
        ("https://files.example/a", "image/png"),
        ("https://files.example/a.tar", "image/png"),
        ("https://[broken/a.gif", "image/png"),
        ("", "image/png"),
    ],
)
def test_a_url_promises_a_type_by_the_extension_of_its_path(url: str, mime_type: str) -> None:
    assert guess_from_url(url) == mime_type


def test_a_png_is_a_png_whatever_follows() -> None:
    assert sniff(PNG + b"<html>") == "image/png"
