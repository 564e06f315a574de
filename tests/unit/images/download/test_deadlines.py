"""The time limits of a download, and its clean-up at the limit."""

import asyncio
import os

import anyio
import pytest

from nano_banana_mcp.images.download.fetcher import ImageFetcher
from nano_banana_mcp.images.errors import ImageUnavailable
from tests.support.fake_internet import PUBLIC, Answer, Host, Internet, NewFetcher, Trap, answer, redirect
from tests.support.image_samples import PNG

URL = "https://pictures.example/a.png"


async def drip_the_body(writer: asyncio.StreamWriter) -> None:
    writer.write(answer(b"", length=1000))
    for byte in PNG * 100:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_the_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(1000):
        writer.write(f"X-{number}: 1\r\n".encode())
        await writer.drain()
        await asyncio.sleep(0.02)


async def keep_promising(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def keep_silent(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3_600)


@pytest.mark.parametrize("slow", [drip_the_body, drip_the_headers, keep_promising, keep_silent])
async def test_a_slow_host_is_cut_off_at_the_deadline(slow: Answer, new_fetcher: NewFetcher, host: Host) -> None:
    host.answers["/a.png"] = slow
    with pytest.raises(ImageUnavailable, match=r"did not deliver the picture within 0\.3 s"):
        await new_fetcher(deadline_seconds=0.3).fetch(URL)


async def test_the_deadline_covers_a_slow_name_and_all_redirects_together(new_fetcher: NewFetcher, host: Host) -> None:
    async def slow(host: str, port: int) -> list[str]:
        await anyio.sleep(0.15)
        return [PUBLIC]

    host.answers["/a.png"] = redirect("/a.png")
    with pytest.raises(ImageUnavailable, match="did not deliver"):
        await new_fetcher(deadline_seconds=0.3, resolve=slow).fetch(URL)


@pytest.mark.slow
async def test_the_deadline_covers_a_handshake_that_never_ends_and_leaves_no_socket_open(
    new_fetcher: NewFetcher, internet: Internet, trap: Trap
) -> None:
    internet.lands_at = ("127.0.0.1", trap.port)
    with pytest.raises(ImageUnavailable, match="did not deliver"):
        await new_fetcher(deadline_seconds=2).fetch(URL)
    assert trap.was_left()


async def test_a_fetch_that_is_cancelled_in_a_handshake_leaves_no_socket_open(
    fetcher: ImageFetcher, internet: Internet, trap: Trap
) -> None:
    internet.lands_at = ("127.0.0.1", trap.port)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fetcher.fetch, URL)
        await trap.reached()
        tasks.cancel_scope.cancel()
    assert trap.was_left()


async def test_a_cancelled_fetch_raises_the_cancellation(fetcher: ImageFetcher, host: Host) -> None:
    host.answers["/a.png"] = drip_the_body
    task = asyncio.ensure_future(fetcher.fetch(URL))
    while not host.requests:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    host.answers["/a.png"] = answer(PNG)
    assert (await fetcher.fetch(URL)).data == PNG


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"not HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + PNG,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n" + PNG,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
    ids=["nothing", "noise", "cut off", "two lengths", "transfer gzip", "bad chunk", "huge header", "upgrade"],
)
async def test_a_host_that_breaks_the_protocol_is_unavailable(
    reply: bytes, new_fetcher: NewFetcher, host: Host
) -> None:
    host.answers["/a.png"] = reply
    with pytest.raises(ImageUnavailable, match=r"pictures\.example"):
        await new_fetcher(deadline_seconds=60).fetch(URL)


async def test_a_tls_stream_that_breaks_is_unavailable(fetcher: ImageFetcher, host: Host) -> None:
    async def rubbish(writer: asyncio.StreamWriter) -> None:
        writer.write(answer(PNG, length=5000))
        await writer.drain()
        os.write(writer.get_extra_info("socket").fileno(), b"this was never encrypted" * 5)
        await asyncio.sleep(1)

    host.answers["/a.png"] = rubbish
    with pytest.raises(ImageUnavailable, match="does not speak TLS properly"):
        await fetcher.fetch(URL)
