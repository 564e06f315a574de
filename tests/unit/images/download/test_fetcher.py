import asyncio
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from nano_banana_mcp.common.user_agent import USER_AGENT
from nano_banana_mcp.images.download.fetcher import ImageFetcher
from nano_banana_mcp.images.errors import ImageTooLarge, ImageUnavailable, NotAnImage
from tests.support.fake_internet import PUBLIC, Host, Internet, NewFetcher, Trap, answer
from tests.support.image_samples import PNG, drawn, large_png, png

URL = "https://pictures.example/a.png"


async def test_an_image_is_fetched(fetcher: ImageFetcher, host: Host, internet: Internet) -> None:
    host.answers["/a.png"] = answer(PNG, "Content-Type: image/png")
    image = await fetcher.fetch(URL)
    assert (image.data, image.mime_type) == (PNG, "image/png")
    assert internet.connections == [(PUBLIC, 443)]


async def test_the_name_is_resolved_once_and_the_checked_address_is_connected_to(
    fetcher: ImageFetcher, host: Host, internet: Internet
) -> None:
    internet.names["pictures.example"] = [[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]]
    host.answers["/a.png"] = answer(PNG)
    await fetcher.fetch(URL)
    assert internet.resolved == ["pictures.example"]
    assert internet.connections == [(PUBLIC, 443)]
    assert host.server_names == ["pictures.example"]
    assert host.requests[0].headers["host"] == "pictures.example"


async def test_the_system_is_not_asked_for_the_name_again(
    fetcher: ImageFetcher, host: Host, monkeypatch: pytest.MonkeyPatch
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
    url: str, name: str | None, path: str, fetcher: ImageFetcher, host: Host
) -> None:
    host.answers[path] = answer(PNG)
    assert (await fetcher.fetch(url)).data == PNG
    assert host.server_names == [name]
    assert host.requests[0].headers["host"] == (name or PUBLIC)


async def test_a_request_carries_no_more_than_it_must(
    new_fetcher: NewFetcher, host: Host, trap: Trap, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@127.0.0.1:{trap.port}")  # not for https URLs
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


async def test_a_certificate_for_another_name_is_refused(fetcher: ImageFetcher, host: Host) -> None:
    host.answers["/a.png"] = answer(PNG)
    with pytest.raises(ImageUnavailable, match=r"wrong\.example has no valid certificate"):
        await fetcher.fetch("https://wrong.example/a.png")
    with pytest.raises(ImageUnavailable, match="no valid certificate"):
        await fetcher.fetch("https://1.1.1.1/a.png")
    assert not host.requests


async def test_a_connection_verified_for_one_name_serves_no_other_name(fetcher: ImageFetcher, host: Host) -> None:
    host.answers["/a.png"] = answer(PNG, "Connection: keep-alive")
    await fetcher.fetch(URL)
    with pytest.raises(ImageUnavailable, match="no valid certificate"):
        await fetcher.fetch("https://wrong.example/a.png")
    assert len(host.requests) == 1


async def test_a_certificate_of_an_unknown_authority_is_refused(new_fetcher: NewFetcher, host: Host) -> None:
    with pytest.raises(ImageUnavailable, match="no valid certificate"):
        await new_fetcher(ssl_context=None).fetch(URL)
    assert not host.requests


async def test_a_host_that_speaks_no_tls_is_unavailable(
    new_fetcher: NewFetcher, sandbox: Host, internet: Internet
) -> None:
    internet.lands_at = ("127.0.0.1", sandbox.port)
    sandbox.answers["/a.png"] = answer(PNG)
    with pytest.raises(ImageUnavailable, match=r"pictures\.example"):
        await new_fetcher(deadline_seconds=0.5).fetch(URL)
    assert not sandbox.requests


async def test_the_next_address_is_tried_when_one_takes_no_connection(
    new_fetcher: NewFetcher, host: Host, internet: Internet
) -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    refused_address = closed.getsockname()
    closed.close()
    internet.names["pictures.example"] = [["2606:4700::1", PUBLIC, PUBLIC]]
    tried: list[str] = []

    def connect_to(ip: str, port: int) -> tuple[str, int]:
        tried.append(ip)
        return internet.lands_at if ip == PUBLIC else (refused_address[0], refused_address[1])

    fetcher = new_fetcher(connect_to=connect_to)
    host.answers["/a.png"] = answer(PNG)
    assert (await fetcher.fetch(URL)).data == PNG
    assert tried == ["2606:4700::1", PUBLIC]
    internet.names["down.example"] = [["1.1.1.1", "1.0.0.1"]]
    with pytest.raises(ImageUnavailable, match=r"down\.example cannot be connected to"):
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
    status: int, words: str, fetcher: ImageFetcher, host: Host
) -> None:
    host.answers["/a.png?signature=abc"] = answer(PNG if status == 206 else b"", status=f"{status} Whatever")
    with pytest.raises(ImageUnavailable, match=words) as unavailable:
        await fetcher.fetch(f"{URL}?signature=abc")
    assert unavailable.value.status == status
    assert f"pictures.example answered {status}" in str(unavailable.value)
    assert "signature" not in str(unavailable.value)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "avif", "bmp"])
async def test_the_bytes_decide_the_type_not_the_header_and_not_the_url(
    kind: str, fetcher: ImageFetcher, host: Host
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
    ],
)
async def test_an_answer_that_is_no_image_is_refused_with_a_message(
    body: bytes, words: str, fetcher: ImageFetcher, host: Host
) -> None:
    host.answers["/a.png"] = answer(body, "Content-Type: image/png")
    with pytest.raises(NotAnImage, match=words):
        await fetcher.fetch(URL)


async def test_a_pixel_bomb_is_refused(fetcher: ImageFetcher, host: Host) -> None:
    host.answers["/a.png"] = answer(png(50_000, 50_000))
    with pytest.raises(ImageTooLarge, match="50000 x 50000 pixels"):
        await fetcher.fetch(URL)


async def test_many_images_are_fetched_at_once(fetcher: ImageFetcher, host: Host) -> None:
    host.answers["/a.png"] = answer(PNG)
    encoded_images = await asyncio.gather(*(fetcher.fetch(URL) for _ in range(20)))
    assert {image.data for image in encoded_images} == {PNG}


async def test_a_fetcher_that_was_closed_opens_again(fetcher: ImageFetcher, host: Host) -> None:
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
        fetcher = ImageFetcher(trusted_origins=trusted)
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
    fetcher = ImageFetcher(trusted_origins=[origin], max_bytes=1000)
    with pytest.raises(NotAnImage):
        await fetcher.fetch(f"{origin}/page")
    for path in ("/large", "/bomb"):
        with pytest.raises(ImageTooLarge):
            await fetcher.fetch(origin + path)
    await fetcher.aclose()


async def test_an_image_takes_no_more_memory_than_twice_the_cap(new_fetcher: NewFetcher, host: Host) -> None:
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
        image = await fetcher.fetch(URL)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(image.data) == cap
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
        fetcher = ImageFetcher(trusted_origins=[origin], deadline_seconds=5)
        assert (await fetcher.fetch(f"{origin}/a.png")).data == PNG
        await fetcher.aclose()

    with plain_http(answer(PNG)) as origin:
        anyio.run(main, origin, backend=backend)
