import asyncio
import os
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from nano_banana_mcp.images.errors import NotAPicture, PictureError, PictureTooLarge, PictureUnavailable
from nano_banana_mcp.images.fetch import USER_AGENT, PictureFetcher

from .conftest import NewFetcher
from .internet import PUBLIC, Answer, Host, Internet, Trap, answer, redirect
from .samples import PNG, drawn, large_png, png

URL = "https://pictures.example/a.png"


async def test_a_picture_is_fetched(fetcher: PictureFetcher, host: Host, internet: Internet) -> None:
    host.answers["/a.png"] = answer(PNG, "Content-Type: image/png")
    picture = await fetcher.fetch(URL)
    assert (picture.data, picture.mime_type) == (PNG, "image/png")
    assert internet.connections == [(PUBLIC, 443)]


async def test_the_name_is_resolved_once_and_the_checked_address_is_connected_to(
    fetcher: PictureFetcher, host: Host, internet: Internet
) -> None:
    internet.names["pictures.example"] = [[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]]
    host.answers["/a.png"] = answer(PNG)
    await fetcher.fetch(URL)
    assert internet.asked == ["pictures.example"]
    assert internet.connections == [(PUBLIC, 443)]
    assert host.server_names == ["pictures.example"]
    assert host.requests[0].headers["host"] == "pictures.example"


async def test_the_system_is_not_asked_for_the_name_again(
    fetcher: PictureFetcher, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.answers["/a.png"] = answer(PNG)
    monkeypatch.setattr(socket, "getaddrinfo", pytest.fail)
    assert (await fetcher.fetch(URL)).data == PNG


@pytest.mark.parametrize(
    ("url", "name", "path"),
    [
        ("https://PICTURES.example:443", "pictures.example", "/"),
        ("https://pictures.example.:/a?b=%2F&c='d'#fragment", "pictures.example", "/a?b=%2F&c='d'"),
        ("https://bücher.example/ü?ö=1", "xn--bcher-kva.example", "/%C3%BC?%C3%B6=1"),
        ("https://ｐictures.example/a", "pictures.example", "/a"),
        ("https://under_score.example/a", "under_score.example", "/a"),
        (f"https://{PUBLIC}/a", None, "/a"),
        ("https://0x5db8d70e/a", None, "/a"),
    ],
)
async def test_a_host_is_asked_by_its_usual_name(
    url: str, name: str | None, path: str, fetcher: PictureFetcher, host: Host
) -> None:
    host.answers[path] = answer(PNG)
    assert (await fetcher.fetch(url)).data == PNG
    assert host.server_names == [name]
    assert host.requests[0].headers["host"] == (name or PUBLIC)


async def test_a_request_carries_no_more_than_it_must(
    new_fetcher: NewFetcher, host: Host, trap: Trap, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(variable, f"http://user:secret@127.0.0.1:{trap.port}")
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    host.answers |= {
        "/a.png": answer(b"", "Location: /b.png", "Set-Cookie: id=secret; Path=/", status="302 Found"),
        "/b.png": answer(PNG),
    }
    await new_fetcher().fetch(URL)
    for request in host.requests:
        assert request.headers == {
            "host": "pictures.example",
            "user-agent": USER_AGENT,
            "accept": "image/*,*/*;q=0.5",
            "accept-encoding": "identity",
            "connection": "close",
        }
    assert not trap.was_reached()


async def test_a_certificate_for_another_name_is_refused(fetcher: PictureFetcher, host: Host) -> None:
    host.answers["/a.png"] = answer(PNG)
    with pytest.raises(PictureUnavailable, match=r"wrong\.example has no valid certificate"):
        await fetcher.fetch("https://wrong.example/a.png")
    with pytest.raises(PictureUnavailable, match="no valid certificate"):
        await fetcher.fetch("https://1.1.1.1/a.png")
    assert not host.requests


async def test_a_connection_verified_for_one_name_serves_no_other_name(fetcher: PictureFetcher, host: Host) -> None:
    host.answers["/a.png"] = answer(PNG, "Connection: keep-alive")
    await fetcher.fetch(URL)
    with pytest.raises(PictureUnavailable, match="no valid certificate"):
        await fetcher.fetch("https://wrong.example/a.png")
    assert len(host.requests) == 1


async def test_a_certificate_of_an_unknown_authority_is_refused(new_fetcher: NewFetcher, host: Host) -> None:
    with pytest.raises(PictureUnavailable, match="no valid certificate"):
        await new_fetcher(ssl_context=None).fetch(URL)
    assert not host.requests


async def test_a_host_that_speaks_no_tls_is_unavailable(
    new_fetcher: NewFetcher, sandbox: Host, internet: Internet
) -> None:
    internet.lands_at = ("127.0.0.1", sandbox.port)
    sandbox.answers["/a.png"] = answer(PNG)
    with pytest.raises(PictureUnavailable, match=r"pictures\.example"):
        await new_fetcher(deadline_seconds=0.5).fetch(URL)
    assert not sandbox.requests


async def test_the_next_address_is_tried_when_one_takes_no_connection(
    new_fetcher: NewFetcher, host: Host, internet: Internet
) -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    nobody = closed.getsockname()
    closed.close()
    internet.names["pictures.example"] = [["2606:4700::1", PUBLIC, PUBLIC]]
    tried: list[str] = []

    def connect_to(ip: str, port: int) -> tuple[str, int]:
        tried.append(ip)
        return internet.lands_at if ip == PUBLIC else (nobody[0], nobody[1])

    fetcher = new_fetcher(connect_to=connect_to)
    host.answers["/a.png"] = answer(PNG)
    assert (await fetcher.fetch(URL)).data == PNG
    assert tried == ["2606:4700::1", PUBLIC]
    internet.names["down.example"] = [["1.1.1.1", "1.0.0.1"]]
    with pytest.raises(PictureUnavailable, match=r"down\.example cannot be connected to"):
        await fetcher.fetch("https://down.example/")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "needs no login"),
        (403, "refuses to hand it out"),
        (404, "may have expired"),
        (410, "may have expired"),
        (204, "Try again"),
        (206, "Try again"),
        (304, "Try again"),
        (429, "Try again"),
        (500, "Try again"),
        (503, "Try again"),
    ],
)
async def test_a_status_other_than_200_is_unavailable_and_says_what_to_do(
    status: int, words: str, fetcher: PictureFetcher, host: Host
) -> None:
    host.answers["/a.png?signature=abc"] = answer(PNG if status == 206 else b"", status=f"{status} Whatever")
    with pytest.raises(PictureUnavailable, match=words) as unavailable:
        await fetcher.fetch(f"{URL}?signature=abc")
    assert unavailable.value.status == status
    assert f"pictures.example answered {status}" in str(unavailable.value)
    assert "signature" not in str(unavailable.value)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "avif", "bmp"])
async def test_the_bytes_decide_the_type_not_the_header_and_not_the_url(
    kind: str, fetcher: PictureFetcher, host: Host
) -> None:
    host.answers["/a.png"] = answer(drawn(kind), "Content-Type: text/html")
    assert (await fetcher.fetch(URL)).mime_type == f"image/{kind}"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!DOCTYPE html><title>Sign in</title>", "a web page"),
        (b"<html>" + b" " * 100_000, "a web page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b'{"error": "gone"}', "JSON"),
        (b"error code: 1010", "text"),
        (b"", "nothing"),
        (PNG[:20], "broken or cut off"),
    ],
)
async def test_what_is_no_picture_is_refused_in_words(
    body: bytes, words: str, fetcher: PictureFetcher, host: Host
) -> None:
    host.answers["/a.png"] = answer(body, "Content-Type: image/png")
    with pytest.raises(NotAPicture, match=words):
        await fetcher.fetch(URL)


async def test_a_page_is_refused_at_its_beginning(fetcher: PictureFetcher, host: Host) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n<html>" + b" " * 2000)
        await writer.drain()
        await asyncio.sleep(60)

    host.answers["/a.png"] = endless
    with anyio.fail_after(5), pytest.raises(NotAPicture, match="a web page"):
        await fetcher.fetch(URL)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip"])
async def test_a_compressed_answer_is_refused(encoding: str, fetcher: PictureFetcher, host: Host) -> None:
    host.answers["/a.png"] = answer(PNG, f"Content-Encoding: {encoding}")
    with pytest.raises(NotAPicture, match="compressed"):
        await fetcher.fetch(URL)


async def test_an_answer_that_says_it_is_not_compressed_is_taken(fetcher: PictureFetcher, host: Host) -> None:
    host.answers["/a.png"] = answer(PNG, "Content-Encoding: Identity")
    assert (await fetcher.fetch(URL)).data == PNG


async def test_a_length_above_the_cap_is_refused_before_reading(fetcher: PictureFetcher, host: Host) -> None:
    for length in (20 * 1024 * 1024 + 1, 10**19):
        host.answers["/a.png"] = answer(PNG, length=length)
        with anyio.fail_after(5), pytest.raises(PictureTooLarge, match="20 MB"):
            await fetcher.fetch(URL)


async def test_a_body_at_the_cap_is_taken_and_one_byte_more_is_not(new_fetcher: NewFetcher, host: Host) -> None:
    fetcher = new_fetcher(max_bytes=1000)
    host.answers |= {"/fits": answer(large_png(1000)), "/not": b"HTTP/1.1 200 OK\r\n\r\n" + large_png(1001)}
    assert len((await fetcher.fetch("https://pictures.example/fits")).data) == 1000
    with pytest.raises(PictureTooLarge):
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
    with anyio.fail_after(5), pytest.raises(PictureTooLarge):
        await new_fetcher(max_bytes=1024 * 1024).fetch(URL)
    assert sent < 64 * 1024 * 1024


@pytest.mark.parametrize("head", ["404 Not Found", "302 Found\r\nLocation: /b.png", "200 OK\r\nContent-Encoding: br"])
async def test_a_body_that_is_not_wanted_is_hung_up_on(head: str, fetcher: PictureFetcher, host: Host) -> None:
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
    with pytest.raises(PictureError):
        await fetcher.fetch(URL)
    with anyio.fail_after(1):
        await hung_up.wait()


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
    await asyncio.sleep(60)


@pytest.mark.parametrize("slow", [drip_the_body, drip_the_headers, keep_promising, keep_silent])
async def test_a_slow_host_is_cut_off_at_the_deadline(slow: Answer, new_fetcher: NewFetcher, host: Host) -> None:
    host.answers["/a.png"] = slow
    started = anyio.current_time()
    with pytest.raises(PictureUnavailable, match=r"did not deliver the picture within 0\.3 s"):
        await new_fetcher(deadline_seconds=0.3).fetch(URL)
    assert anyio.current_time() - started < 2


async def test_the_deadline_covers_a_slow_name_and_all_redirects_together(new_fetcher: NewFetcher, host: Host) -> None:
    async def slow(host: str, port: int) -> list[str]:
        await anyio.sleep(0.15)
        return [PUBLIC]

    host.answers["/a.png"] = redirect("/a.png")
    started = anyio.current_time()
    with pytest.raises(PictureUnavailable, match="did not deliver"):
        await new_fetcher(deadline_seconds=0.3, resolve=slow).fetch(URL)
    assert anyio.current_time() - started < 2


async def test_the_deadline_covers_a_handshake_that_never_ends_and_leaves_no_socket_open(
    new_fetcher: NewFetcher, internet: Internet, trap: Trap
) -> None:
    internet.lands_at = ("127.0.0.1", trap.port)
    with pytest.raises(PictureUnavailable, match="did not deliver"):
        await new_fetcher(deadline_seconds=0.3).fetch(URL)
    assert trap.was_left()


async def test_whoever_cancels_in_a_handshake_leaves_no_socket_open(
    fetcher: PictureFetcher, internet: Internet, trap: Trap
) -> None:
    internet.lands_at = ("127.0.0.1", trap.port)
    with anyio.move_on_after(0.2) as scope:
        await fetcher.fetch(URL)
    assert scope.cancelled_caught
    assert trap.was_left()


async def test_whoever_cancels_gets_a_cancellation(fetcher: PictureFetcher, host: Host) -> None:
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
    with pytest.raises(PictureUnavailable, match=r"pictures\.example"):
        await new_fetcher(deadline_seconds=3).fetch(URL)


async def test_a_tls_stream_that_breaks_is_unavailable(fetcher: PictureFetcher, host: Host) -> None:
    async def rubbish(writer: asyncio.StreamWriter) -> None:
        writer.write(answer(PNG, length=5000))
        await writer.drain()
        os.write(writer.get_extra_info("socket").fileno(), b"this was never encrypted" * 5)
        await asyncio.sleep(1)

    host.answers["/a.png"] = rubbish
    with pytest.raises(PictureUnavailable, match="does not speak TLS properly"):
        await fetcher.fetch(URL)


async def test_a_pixel_bomb_is_refused(fetcher: PictureFetcher, host: Host) -> None:
    host.answers["/a.png"] = answer(png(50_000, 50_000))
    with pytest.raises(PictureTooLarge, match="50000 x 50000 pixels"):
        await fetcher.fetch(URL)


async def test_many_pictures_are_fetched_at_once(fetcher: PictureFetcher, host: Host) -> None:
    host.answers["/a.png"] = answer(PNG)
    pictures = await asyncio.gather(*(fetcher.fetch(URL) for _ in range(20)))
    assert {picture.data for picture in pictures} == {PNG}


async def test_a_fetcher_that_was_closed_opens_again(fetcher: PictureFetcher, host: Host) -> None:
    host.answers["/a.png"] = answer(PNG)
    await fetcher.aclose()
    await fetcher.fetch(URL)
    await fetcher.aclose()
    await fetcher.aclose()
    assert (await fetcher.fetch(URL)).data == PNG


async def test_a_trusted_origin_is_fetched_from_over_plain_http(sandbox: Host) -> None:
    origin = f"http://127.0.0.1:{sandbox.port}"
    sandbox.answers["/a.png"] = answer(PNG)
    for trusted in ([origin], (f"{origin}/",), lambda: [origin]):
        fetcher = PictureFetcher(trusted_origins=trusted)
        assert (await fetcher.fetch(f"{origin}/a.png")).data == PNG
        await fetcher.aclose()
    assert sandbox.requests[0].headers["host"] == f"127.0.0.1:{sandbox.port}"


async def test_a_trusted_origin_is_still_held_to_bytes_and_types(sandbox: Host) -> None:
    origin = f"http://127.0.0.1:{sandbox.port}"
    sandbox.answers |= {
        "/page": answer(b"<html>"),
        "/large": answer(large_png(2000)),
        "/bomb": answer(png(50_000, 50_000)),
    }
    fetcher = PictureFetcher(trusted_origins=[origin], max_bytes=1000)
    with pytest.raises(NotAPicture):
        await fetcher.fetch(f"{origin}/page")
    for path in ("/large", "/bomb"):
        with pytest.raises(PictureTooLarge):
            await fetcher.fetch(origin + path)
    await fetcher.aclose()


async def test_a_picture_takes_no_more_memory_than_twice_the_cap(new_fetcher: NewFetcher, host: Host) -> None:
    cap = 4 * 1024 * 1024
    part = bytes(65536)

    async def large(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + large_png(len(part)))
        for _ in range(cap // len(part) - 1):
            writer.write(part)
            await writer.drain()

    host.answers["/a.png"] = large
    fetcher = new_fetcher(max_bytes=cap)
    tracemalloc.start()
    try:
        picture = await fetcher.fetch(URL)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(picture.data) == cap
    assert peak < 2 * cap


@contextmanager
def plain_http(reply: bytes) -> Iterator[str]:
    """A plain HTTP server without an event loop, for one request."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_runs_on_either_backend(backend: str) -> None:
    async def main(origin: str) -> None:
        fetcher = PictureFetcher(trusted_origins=[origin], deadline_seconds=5)
        assert (await fetcher.fetch(f"{origin}/a.png")).data == PNG
        await fetcher.aclose()

    with plain_http(answer(PNG)) as origin:
        anyio.run(main, origin, backend=backend)
