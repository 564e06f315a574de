import base64
import gzip
import zlib
from urllib.parse import quote

import pytest

from nano_banana_mcp.images.data_uri import label_of, read_image
from nano_banana_mcp.images.errors import BadDataUri, ImageTooLarge, NotAnImage
from nano_banana_mcp.images.image import MAX_BYTES, EncodedImage
from tests.support.image_samples import PNG, data_uri, drawn, large_png, png

BASE64 = base64.b64encode(PNG).decode()
URL_SAFE = base64.urlsafe_b64encode(drawn("png", (64, 64), mode="RGBA") + b"\xfb\xff\xfe").decode()


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/png;base64,{BASE64}",
        f"DATA:IMAGE/PNG;BASE64,{BASE64}",
        f"data:image/png;charset=utf-8;base64,{BASE64}",
        f"data:;base64,{BASE64}",
        f"data:application/octet-stream;base64,{BASE64}",
        f"data:image/png;base64,{BASE64.rstrip('=')}",
        f"data:image/png;base64,\r\n {BASE64[:20]}\r\n{BASE64[20:]}\n",
        f"data:image/png;base64,{quote(BASE64, safe='')}",
        f"data:image/png,{BASE64}",
        f"data:image/png,{quote(PNG, safe='')}",
        f"data:image/png;base64;x,{BASE64}",
        f" data:image/png;base64, {BASE64}",
        f"data:image/png;base64,data:image/png;base64,{BASE64}",
        f"image/png;base64,{BASE64}",
        f"base64:{BASE64}",
        f'"data:image/png;base64,{BASE64}"',
        f"data:image/png;base64,{BASE64}*",
        f'data:image/png;name="a,b.png";base64,{BASE64}',
        f"data:image/png;base64,{base64.b64encode(gzip.compress(PNG)).decode()}",
        base64.b64encode(zlib.compress(PNG)).decode(),
        base64.b64encode(BASE64.encode()).decode(),
        base64.b64encode(f"data:image/png;base64,{BASE64}".encode()).decode(),
        PNG.hex(),
        BASE64,
        "\r\n".join(BASE64[at : at + 76] for at in range(0, len(BASE64), 76)),
    ],
)
def test_a_data_uri_is_decoded_even_if_it_is_written_carelessly(uri: str) -> None:
    assert read_image(uri) == EncodedImage(PNG, "image/png")


def test_the_url_safe_alphabet_is_understood() -> None:
    assert "-" in URL_SAFE or "_" in URL_SAFE
    assert read_image(f"data:image/png;base64,{URL_SAFE}").mime_type == "image/png"


def test_plus_signs_that_a_form_made_blanks_are_plus_signs_again() -> None:
    noise = drawn("png", (64, 64), mode="RGBA") + b"\xfb\xef\xbe" * 3 + b"end"
    assert read_image(data_uri(noise).replace("+", " ")).data == noise


def test_a_packed_image_is_unpacked_within_the_bounds() -> None:
    bomb = base64.b64encode(gzip.compress(bytes(MAX_BYTES + 1))).decode()
    with pytest.raises(ImageTooLarge):
        read_image(bomb)


def test_the_bytes_decide_the_type_not_the_label() -> None:
    assert read_image(data_uri(drawn("jpeg"), "image/png")).mime_type == "image/jpeg"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://pictures.example/a.png",
        "data:",
        "data:image/png",
        "data:image/png;base64,",
        "data:image/png;base64, \n",
        "data:image/png;base64,====",
        "data:image/png;base64,A",
        "data:image/png;base64,aGVs*bG8h",
        "data:image/png;base64,aGVs=bG8",
        "data:image/png;base64,aGVsbG8ö",
    ],
)
def test_text_that_is_no_base64_data_uri_is_refused(uri: str) -> None:
    with pytest.raises(BadDataUri, match="data:image/png;base64"):
        read_image(uri)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "an SVG drawing"),
        (b"<html></html>", "a web page"),
        (b"hello", "text"),
        (b"\x00\x01", "unknown data"),
    ],
)
def test_a_data_uri_of_another_type_is_refused_with_a_message(data: bytes, words: str) -> None:
    with pytest.raises(NotAnImage, match=words):
        read_image(data_uri(data))


def test_a_data_uri_at_the_cap_is_taken_and_one_byte_more_is_not() -> None:
    for size in range(300, 306):
        assert len(read_image(data_uri(large_png(size)), max_bytes=size).data) == size
        with pytest.raises(ImageTooLarge):
            read_image(data_uri(large_png(size)), max_bytes=size - 1)


def test_a_huge_data_uri_is_refused_without_decoding_it(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "data:image/png;base64," + "A" * (MAX_BYTES * 2)
    monkeypatch.setattr("binascii.a2b_base64", pytest.fail)
    with pytest.raises(ImageTooLarge, match="20 MB"):
        read_image(uri)


def test_a_data_uri_of_mere_white_space_is_refused_for_its_length() -> None:
    with pytest.raises(ImageTooLarge):
        read_image("data:image/png;base64," + " " * (MAX_BYTES * 2))


def test_a_pixel_bomb_in_a_data_uri_is_refused() -> None:
    with pytest.raises(ImageTooLarge, match="50000 x 50000"):
        read_image(data_uri(png(50_000, 50_000)))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (data_uri(PNG), "image/png"),
        ("data:Application/Octet-Stream;charset=x;base64,abcd", "application/octet-stream"),
        ("data:text/html,x", "text/html"),
        ("data:;base64,abcd", None),
        (BASE64, None),
    ],
)
def test_a_label_is_what_the_data_uri_claims(text: str, label: str | None) -> None:
    assert label_of(text) == label
