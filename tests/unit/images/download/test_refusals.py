"""Addresses that must never be connected to; a real socket listens where every connection would arrive."""

from collections.abc import AsyncIterator

import pytest

from nano_banana_mcp.images.download.fetcher import ImageFetcher, resolve_host
from nano_banana_mcp.images.errors import AddressRefused, ImageUnavailable
from tests.support.fake_internet import PUBLIC, Internet, Trap
from tests.support.url_corpus import CLOSED, URLS


@pytest.fixture
def internet(trap: Trap) -> Internet:
    return Internet(("127.0.0.1", trap.port))


@pytest.fixture
async def fetcher(internet: Internet) -> AsyncIterator[ImageFetcher]:
    fetcher = ImageFetcher(resolve=internet.resolve, connect_to=internet.connect_to, deadline_seconds=0.3)
    yield fetcher
    await fetcher.aclose()


async def test_the_trap_receives_an_allowed_connection(fetcher: ImageFetcher, internet: Internet, trap: Trap) -> None:
    with pytest.raises(ImageUnavailable):
        await fetcher.fetch("https://pictures.example/a.png")
    assert internet.connections == [(PUBLIC, 443)]
    assert trap.was_reached()


@pytest.mark.parametrize("url", URLS)
async def test_a_forbidden_url_is_refused_without_a_connection(
    url: str, fetcher: ImageFetcher, internet: Internet, trap: Trap
) -> None:
    with pytest.raises(AddressRefused) as refused:
        await fetcher.fetch(url)
    assert not trap.was_reached()
    assert not internet.resolved
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://user:secret@pictures.example/", "a user name or password"),
        ("http://pictures.example/", "not an https:// URL"),
        ("https://pictures.example:8443/", "a port other than 443"),
        ("https://pictures.example:70000/", "port does not exist"),
        ("https://1.2.3.4.5/", "neither a name nor an address"),
        ("https://127.1/?signature=secret", r"127\.0\.0\.1 is not on the public internet"),
        ("https://a.localhost/?signature=secret", r"a\.localhost is an internal network name"),
    ],
)
async def test_a_refusal_says_why_and_what_to_do(url: str, words: str, fetcher: ImageFetcher) -> None:
    with pytest.raises(
        AddressRefused, match=rf"{words}.* Use the https:// URL of a picture on a public host\."
    ) as refused:
        await fetcher.fetch(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("ip", CLOSED)
async def test_a_name_of_a_closed_address_is_refused_without_a_connection(
    ip: str, fetcher: ImageFetcher, internet: Internet, trap: Trap
) -> None:
    internet.names["pictures.example"] = [[ip]]
    with pytest.raises(AddressRefused, match=r"pictures\.example is not on the public internet"):
        await fetcher.fetch("https://pictures.example/a.png")
    assert not trap.was_reached()


async def test_loopback_over_plain_http_is_refused_at_its_real_port(trap: Trap) -> None:
    fetcher = ImageFetcher()
    for host in ("127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"):
        for scheme in ("http", "https"):
            with pytest.raises(AddressRefused):
                await fetcher.fetch(f"{scheme}://{host}:{trap.port}/a.png")
    assert not trap.was_reached()


@pytest.mark.parametrize(
    "trusted",
    [
        "http://127.0.0.1:{other}",
        "https://127.0.0.1:{port}",
        "http://localhost:{port}",
        "http://127.0.0.1",
        "http://127.0.0.1:{port}1",
        "http://127.0.0.1:{port}/sandbox",
        "127.0.0.1:{port}",
        "*",
        "",
    ],
)
async def test_an_origin_that_is_not_exactly_the_trusted_one_is_not_trusted(trusted: str, trap: Trap) -> None:
    origin = trusted.format(port=trap.port, other=trap.port - 1)
    fetcher = ImageFetcher(trusted_origins=[origin], deadline_seconds=0.3)
    with pytest.raises(AddressRefused):
        await fetcher.fetch(f"http://127.0.0.1:{trap.port}/a.png")
    assert not trap.was_reached()


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433:{port}/",
        "http://127.1:{port}/",
        "http://localhost:{port}/",
        "http://x@127.0.0.1:{port}/",
        "http://127.0.0.1.:{port}/",
        "https://127.0.0.1:{port}/",
    ],
)
async def test_another_spelling_of_the_trusted_origin_is_not_trusted(url: str, trap: Trap) -> None:
    fetcher = ImageFetcher(trusted_origins=[f"http://127.0.0.1:{trap.port}"], deadline_seconds=0.3)
    with pytest.raises(AddressRefused):
        await fetcher.fetch(url.format(port=trap.port))
    assert not trap.was_reached()


async def test_the_real_resolver_gives_every_address() -> None:
    assert await resolve_host("127.0.0.1", 443) == ["127.0.0.1"]
    assert {"127.0.0.1", "::1"} & set(await resolve_host("localhost", 443))


async def test_a_name_without_an_address_is_reported_as_unavailable(fetcher: ImageFetcher, internet: Internet) -> None:
    internet.names["nowhere.example"] = [[]]
    with pytest.raises(ImageUnavailable, match=r"nowhere\.example cannot be found"):
        await fetcher.fetch("https://nowhere.example/a.png?signature=abc")


@pytest.mark.parametrize("failure", [OSError("no DNS"), UnicodeError("label too long"), TimeoutError()])
async def test_a_resolver_that_fails_is_unavailable(failure: Exception) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise failure

    with pytest.raises(ImageUnavailable, match="cannot be found"):
        await ImageFetcher(resolve=resolve).fetch("https://pictures.example/a.png")
