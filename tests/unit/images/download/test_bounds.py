"""How much of an answer is taken at most."""

import asyncio

import anyio
import pytest

from nano_banana_mcp.images.download.fetcher import ImageFetcher
from nano_banana_mcp.images.errors import ImageError, ImageTooLarge, NotAnImage
from tests.support.fake_internet import Host, NewFetcher, answer
from tests.support.image_samples import PNG, large_png

URL = "https://pictures.example/a.png"


async def test_a_page_is_refused_at_its_beginning(fetcher: ImageFetcher, host: Host) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n<html>" + b" " * 2000)
        await writer.drain()
        await asyncio.sleep(60)

    host.answers["/a.png"] = endless
    with anyio.fail_after(5), pytest.raises(NotAnImage, match="a web page"):
        await fetcher.fetch(URL)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip"])
async def test_a_compressed_answer_is_refused(encoding: str, fetcher: ImageFetcher, host: Host) -> None:
    host.answers["/a.png"] = answer(PNG, f"Content-Encoding: {encoding}")
    with pytest.raises(NotAnImage, match="compressed"):
        await fetcher.fetch(URL)


async def test_an_answer_that_says_it_is_not_compressed_is_taken(fetcher: ImageFetcher, host: Host) -> None:
    host.answers["/a.png"] = answer(PNG, "Content-Encoding: Identity")
    assert (await fetcher.fetch(URL)).data == PNG


async def test_a_length_above_the_cap_is_refused_before_reading(fetcher: ImageFetcher, host: Host) -> None:
    for length in (20 * 1024 * 1024 + 1, 10**19):
        host.answers["/a.png"] = answer(PNG, length=length)
        with anyio.fail_after(5), pytest.raises(ImageTooLarge, match="20 MB"):
            await fetcher.fetch(URL)


async def test_a_body_at_the_cap_is_taken_and_one_byte_more_is_not(new_fetcher: NewFetcher, host: Host) -> None:
    fetcher = new_fetcher(max_bytes=1000)
    host.answers |= {"/fits": answer(large_png(1000)), "/not": b"HTTP/1.1 200 OK\r\n\r\n" + large_png(1001)}
    assert len((await fetcher.fetch("https://pictures.example/fits")).data) == 1000
    with pytest.raises(ImageTooLarge):
        await fetcher.fetch("https://pictures.example/not")


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_endless_body_is_cut_at_the_cap(chunked: bool, new_fetcher: NewFetcher, host: Host) -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked\r\n" if chunked else b"") + b"\r\n")
        part = large_png(65536)
        while True:
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            await writer.drain()
            sent += len(part)

    host.answers["/a.png"] = endless
    with anyio.fail_after(5), pytest.raises(ImageTooLarge):
        await new_fetcher(max_bytes=1024 * 1024).fetch(URL)
    assert sent < 64 * 1024 * 1024


@pytest.mark.parametrize("head", ["404 Not Found", "302 Found\r\nLocation: /b.png", "200 OK\r\nContent-Encoding: br"])
async def test_a_body_that_is_not_wanted_is_hung_up_on(head: str, fetcher: ImageFetcher, host: Host) -> None:
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
    with anyio.fail_after(1):
        await hung_up.wait()
