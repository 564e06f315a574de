"""Downloads through a real forward proxy of the environment."""

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest

from nano_banana_mcp.images.download.fetcher import ImageFetcher
from nano_banana_mcp.images.errors import AddressRefused, ImageTooLarge, ImageUnavailable
from tests.support.fake_internet import PUBLIC, Host, Internet, NewFetcher, Trap, answer, redirect
from tests.support.forward_proxy import ForwardProxy, forward_proxy
from tests.support.image_samples import PNG, large_png
from tests.support.url_corpus import URLS

URL = "https://pictures.example/a.png"


@pytest.fixture
async def proxy(host: Host, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ForwardProxy]:
    async with forward_proxy(("127.0.0.1", host.port)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        yield proxy


async def test_the_proxy_gets_the_name_and_the_image_comes_through_it(
    fetcher: ImageFetcher, host: Host, proxy: ForwardProxy, internet: Internet
) -> None:
    host.answers["/a.png"] = answer(PNG)
    assert (await fetcher.fetch(URL)).data == PNG
    assert proxy.tunnels == [("pictures.example", 443)]
    assert host.server_names == ["pictures.example"]
    assert host.requests[0].headers["host"] == "pictures.example"
    assert "proxy-authorization" not in host.requests[0].headers
    assert not internet.resolved
    assert not internet.connections


async def test_a_host_in_no_proxy_is_reached_directly(
    fetcher: ImageFetcher, host: Host, proxy: ForwardProxy, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "::1/128,pictures.example")
    host.answers |= {"/a.png": redirect("https://cdn.example/b.png"), "/b.png": answer(PNG)}
    assert (await fetcher.fetch(URL)).data == PNG
    assert internet.connections == [(PUBLIC, 443)]
    assert proxy.tunnels == [("cdn.example", 443)]


async def test_a_socks_proxy_gets_the_name(
    fetcher: ImageFetcher, host: Host, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("http:", "socks5:"))
    host.answers["/a.png"] = answer(PNG)
    assert (await fetcher.fetch(URL)).data == PNG
    assert proxy.tunnels == [("pictures.example", 443)]


@pytest.mark.parametrize("url", [*URLS, "https://intranet/a.png"])
async def test_a_forbidden_url_never_reaches_the_proxy(url: str, fetcher: ImageFetcher, proxy: ForwardProxy) -> None:
    with pytest.raises(AddressRefused):
        await fetcher.fetch(url)
    assert not proxy.tunnels


@pytest.mark.parametrize(
    "location",
    [
        "https://10.0.0.1/b.png",
        "https://[::1]/b.png",
        "https://intranet/b.png",
        "http://cdn.example/",
        "https://2130706433/",
    ],
)
async def test_every_redirect_is_checked_before_the_proxy_gets_it(
    location: str, fetcher: ImageFetcher, host: Host, proxy: ForwardProxy
) -> None:
    host.answers |= {"/a.png": redirect("/b.png"), "/b.png": redirect(location)}
    with pytest.raises(AddressRefused):
        await fetcher.fetch(URL)
    assert proxy.tunnels == [("pictures.example", 443)] * 2


async def test_the_bounds_hold_through_a_proxy(new_fetcher: NewFetcher, host: Host, proxy: ForwardProxy) -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    host.answers |= {"/large": answer(large_png(2000)), "/loop": redirect("/loop"), "/silent": silent}
    fetcher = new_fetcher(max_bytes=1000, deadline_seconds=20)
    with pytest.raises(ImageTooLarge):
        await fetcher.fetch("https://pictures.example/large")
    with pytest.raises(ImageUnavailable, match="more than 3 redirects"):
        await fetcher.fetch("https://pictures.example/loop")
    impatient = new_fetcher(max_bytes=1000, deadline_seconds=0.5)
    with anyio.fail_after(60), pytest.raises(ImageUnavailable, match="did not deliver"):
        await impatient.fetch("https://pictures.example/silent")


async def test_user_name_and_password_go_to_the_proxy_alone(
    fetcher: ImageFetcher, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.answers["/a.png"] = answer(PNG)
    async with forward_proxy(("127.0.0.1", host.port), credentials="me:p@ss") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//me:p%40ss@"))
        assert (await fetcher.fetch(URL)).data == PNG
        assert "proxy-authorization" not in host.requests[0].headers
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//me:secret@"))
        with pytest.raises(ImageUnavailable, match=r"HTTPS_PROXY names refused the connection \(407\)") as refused:
            await fetcher.fetch(URL)
        assert "secret" not in str(refused.value)


async def test_a_proxy_that_cannot_be_reached_or_used_is_named(
    fetcher: ImageFetcher, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.status = "502 Bad Gateway"
    with pytest.raises(ImageUnavailable, match=r"HTTPS_PROXY names refused the connection \(502\)"):
        await fetcher.fetch(URL)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(ImageUnavailable, match="the proxy that HTTPS_PROXY names cannot be connected to"):
        await fetcher.fetch(URL)
    monkeypatch.setenv("HTTPS_PROXY", "foo:bar:baz")
    with pytest.raises(ImageUnavailable, match="HTTPS_PROXY cannot be used: it is not a valid URL"):
        await fetcher.fetch(URL)


async def test_a_wrong_certificate_behind_the_proxy_is_the_hosts(
    new_fetcher: NewFetcher, proxy: ForwardProxy, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImageUnavailable, match=r"other\.example has no valid certificate for its name"):
        await new_fetcher().fetch("https://other.example/a.png")
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
    with pytest.raises(ImageUnavailable, match=r"SSL_CERT_FILE cannot be used: /no/such/file\.pem"):
        await new_fetcher(ssl_context=None).fetch(URL)
    assert not host.requests


async def test_the_sandbox_is_never_reached_through_a_proxy(
    new_fetcher: NewFetcher, sandbox: Host, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
    sandbox.answers["/a.png"] = answer(PNG)
    origin = f"http://127.0.0.1:{sandbox.port}"
    fetcher = new_fetcher(trusted_origins=[origin], connect_to=None)
    assert (await fetcher.fetch(f"{origin}/a.png")).data == PNG
    assert not trap.was_reached()
