"""How much of an answer is taken at most."""

import asyncio
import gzip
import zlib

import anyio
import pytest

from nano_banana_mcp.images.download.fetcher import ImageFetcher
from nano_banana_mcp.images.errors import ImageError, ImageTooLarge, ImageUnavailable, NotAnImage
from tests.support.fake_internet import Host, NewFetcher, answer
from tests.support.image_samples import PNG, large_png

URL = "https://pictures.example/a.png"


async def test_a_page_is_refused_at_its_beginning(fetcher: ImageFetcher, host: Host) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n<html>" + b" " * 2000)
        await writer.drain()
        await asyncio.sleep(60)

    host.answers["/a.png"] = endless
    with anyio.fail_after(60), pytest.raises(NotAnImage, match="a web page"):
        await fetcher.fetch(URL)


DEFLATER = zlib.compressobj(wbits=-15)
RAW_DEFLATED = DEFLATER.compress(PNG) + DEFLATER.flush()
CHUNKED = b"%x;chunk-signature=abc\r\n%b\r\n%x\r\n%b\r\n0;chunk-signature=abc\r\n\r\n" % (
    20,
    PNG[:20],
    len(PNG) - 20,
    PNG[20:],
)


@pytest.mark.parametrize(
    ("label", "body"),
    [
        ("gzip", gzip.compress(PNG)),
        ("GZIP", gzip.compress(PNG[:30]) + gzip.compress(PNG[30:])),
        ("", gzip.compress(PNG)),
        ("gzip, gzip", gzip.compress(gzip.compress(PNG))),
        ("deflate", zlib.compress(PNG)),
        ("deflate", RAW_DEFLATED),
        ("aws-chunked", CHUNKED),
        ("aws-chunked,gzip", gzip.compress(PNG)),
        ("gzip", PNG),
        ("br", PNG),
        ("zstd", PNG),
        ("utf-8", PNG),
    ],
    ids=lambda value: value if isinstance(value, str) else "body",
)
async def test_an_encoded_image_is_read_by_its_bytes(
    label: str, body: bytes, fetcher: ImageFetcher, host: Host
) -> None:
    host.answers["/a.png"] = answer(body, *([f"Content-Encoding: {label}"] if label else []))
    assert (await fetcher.fetch(URL)).data == PNG


@pytest.mark.parametrize("encoding", ["br", "zstd", "x-unheard-of"])
async def test_an_encoding_that_cannot_be_undone_is_not_called_no_image(
    encoding: str, fetcher: ImageFetcher, host: Host
) -> None:
    host.answers["/a.png"] = answer(b"\x0b\x02\x80" + b"\xfe" * 700, f"Content-Encoding: {encoding}")
    with pytest.raises(ImageUnavailable, match=encoding):
        await fetcher.fetch(URL)


async def test_a_compressed_bomb_is_refused(fetcher: ImageFetcher, host: Host) -> None:
    host.answers["/a.png"] = answer(gzip.compress(PNG + bytes(30_000_000)), "Content-Encoding: gzip")
    with pytest.raises(ImageTooLarge):
        await fetcher.fetch(URL)


async def test_a_compressed_image_that_breaks_off_can_be_asked_for_again(fetcher: ImageFetcher, host: Host) -> None:
    host.answers["/a.png"] = answer(gzip.compress(PNG)[:-20], "Content-Encoding: gzip")
    with pytest.raises(ImageUnavailable, match="breaks off"):
        await fetcher.fetch(URL)


async def test_an_answer_that_says_it_is_not_compressed_is_taken(fetcher: ImageFetcher, host: Host) -> None:
    host.answers["/a.png"] = answer(PNG, "Content-Encoding: Identity")
    assert (await fetcher.fetch(URL)).data == PNG


async def test_a_length_above_the_cap_is_refused_before_reading(fetcher: ImageFetcher, host: Host) -> None:
    for length in (20 * 1024 * 1024 + 1, 10**19):
        host.answers["/a.png"] = answer(PNG, length=length)
        with anyio.fail_after(60), pytest.raises(ImageTooLarge, match="20 MB"):
            await fetcher.fetch(URL)


async def test_a_body_at_the_cap_is_taken_and_one_byte_more_is_not(new_fetcher: NewFetcher, host: Host) -> None:
    fetcher = new_fetcher(max_bytes=1000)
    host.answers |= {"/fits": answer(large_png(1000)), "/not": b"HTTP/1.1 200 OK\r\n\r\n" + large_png(1001)}
    assert len((await fetcher.fetch("https://pictures.example/fits")).data) == 1000
    with pytest.raises(ImageTooLarge):
        await fetcher.fetch("https://pictures.example/not")


@pytest.mark.parametrize("header", ["Transfer-Encoding: chunked\r\n", "", "Content-Encoding: br\r\n"])
async def test_an_endless_body_is_cut_at_the_cap(header: str, new_fetcher: NewFetcher, host: Host) -> None:
    chunked = "chunked" in header
    part = bytes(65536) if "br" in header else large_png(65536)
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(f"HTTP/1.1 200 OK\r\n{header}\r\n".encode())
        while True:
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            await writer.drain()
            sent += len(part)

    host.answers["/a.png"] = endless
    with anyio.fail_after(60), pytest.raises(ImageTooLarge):
        await new_fetcher(max_bytes=1024 * 1024).fetch(URL)
    assert sent < 64 * 1024 * 1024


@pytest.mark.parametrize(
    "head", ["404 Not Found", "302 Found\r\nLocation: /b.png", "200 OK\r\nContent-Length: 30000000"]
)
async def test_a_connection_is_closed_at_an_unwanted_body(head: str, fetcher: ImageFetcher, host: Host) -> None:
    hung_up = asyncio.Event()

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {head}\r\n\r\n".encode())
        try:
            while True:
                writer.write(bytes(4096))
                await writer.drain()
                await asyncio.sleep(0.01)
        finally:
            hung_up.set()

    host.answers["/a.png"] = endless
    with pytest.raises(ImageError):
        await fetcher.fetch(URL)
    with anyio.fail_after(60):
        await hung_up.wait()
