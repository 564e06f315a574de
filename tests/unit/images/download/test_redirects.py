import pytest

from nano_banana_mcp.images.download.fetcher import ImageFetcher
from nano_banana_mcp.images.errors import AddressRefused, ImageUnavailable
from tests.support.fake_internet import PUBLIC, Host, Internet, NewFetcher, Trap, answer, redirect
from tests.support.image_samples import PNG

START = "https://pictures.example/start"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_followed(status: str, fetcher: ImageFetcher, host: Host, internet: Internet) -> None:
    host.answers |= {"/start": redirect("https://cdn.example/b?c=d", status), "/b?c=d": answer(PNG)}
    assert (await fetcher.fetch(START)).data == PNG
    assert host.paths() == ["/start", "/b?c=d"]
    assert host.server_names == ["pictures.example", "cdn.example"]
    assert internet.resolved == ["pictures.example", "cdn.example"]


@pytest.mark.parametrize(
    ("location", "path"),
    [("/b", "/b"), ("b?x=1#part", "/b?x=1"), ("?x", "/start?x"), ("//cdn.example/b", "/b"), ("./ü", "/%C3%BC")],
)
async def test_a_relative_redirect_is_followed(location: str, path: str, fetcher: ImageFetcher, host: Host) -> None:
    host.answers |= {"/start": redirect(location), path: answer(PNG)}
    assert (await fetcher.fetch(START)).data == PNG


async def test_three_redirects_are_followed_and_the_fourth_is_not(fetcher: ImageFetcher, host: Host) -> None:
    host.answers |= {
        "/start": redirect("/1"),
        "/1": redirect("/2"),
        "/2": redirect("/3"),
        "/3": redirect("/4"),
        "/4": answer(PNG),
    }
    assert (await fetcher.fetch("https://pictures.example/1")).data == PNG
    host.requests.clear()
    with pytest.raises(ImageUnavailable, match="more than 3 redirects"):
        await fetcher.fetch(START)
    assert host.paths() == ["/start", "/1", "/2", "/3"]


async def test_a_loop_of_redirects_ends(fetcher: ImageFetcher, host: Host) -> None:
    host.answers["/start"] = redirect(START)
    with pytest.raises(ImageUnavailable, match="redirects"):
        await fetcher.fetch(START)
    assert len(host.requests) == 4


@pytest.mark.parametrize(
    "location",
    [
        "https://127.0.0.1/a.png",
        "https://169.254.169.254/latest/meta-data/",
        "https://2852039166/",
        "https://[::1]/",
        "//localhost/a.png",
        "https://inside.example/a.png",
        "http://pictures.example/a.png",
        "https://pictures.example:8443/a.png",
        "https://user:secret@pictures.example/a.png",
        "file:///etc/passwd",
        "data:image/png;base64,iVBORw0KGgo=",
        "https://[",
        "https://pictures.example\\@127.0.0.1/",
        "/a b",
        "/a\tb",
        "/" + "a" * 9000,
    ],
)
async def test_a_redirect_to_a_forbidden_address_is_refused(
    location: str, fetcher: ImageFetcher, host: Host, internet: Internet
) -> None:
    internet.names["inside.example"] = [["10.0.0.7"]]
    host.answers["/start"] = redirect(location)
    with pytest.raises(AddressRefused):
        await fetcher.fetch(START)
    assert internet.connections == [(PUBLIC, 443)]


async def test_each_hop_resolves_once_and_a_rebound_name_is_refused(
    fetcher: ImageFetcher, host: Host, internet: Internet
) -> None:
    internet.names["pictures.example"] = [[PUBLIC], ["127.0.0.1"]]
    host.answers |= {"/start": redirect("/b"), "/b": answer(PNG)}
    with pytest.raises(AddressRefused):
        await fetcher.fetch(START)
    assert internet.resolved == ["pictures.example", "pictures.example"]
    assert internet.connections == [(PUBLIC, 443)]


async def test_a_public_host_cannot_send_us_to_the_trusted_origin(
    new_fetcher: NewFetcher, host: Host, sandbox: Host, trap: Trap
) -> None:
    origins = [f"http://127.0.0.1:{port}" for port in (sandbox.port, trap.port)]
    fetcher = new_fetcher(trusted_origins=origins)
    for origin in origins:
        host.answers["/start"] = redirect(f"{origin}/a.png")
        with pytest.raises(AddressRefused):
            await fetcher.fetch(START)
    assert not sandbox.requests
    assert not trap.was_reached()


async def test_trust_does_not_survive_a_detour_through_the_outside(
    new_fetcher: NewFetcher, host: Host, sandbox: Host, internet: Internet
) -> None:
    origin = f"http://127.0.0.1:{sandbox.port}"
    internet.stays.add(sandbox.port)
    sandbox.answers |= {"/out": redirect(START), "/in": answer(PNG)}
    host.answers["/start"] = redirect(f"{origin}/in")
    with pytest.raises(AddressRefused):
        await new_fetcher(trusted_origins=[origin]).fetch(f"{origin}/out")
    assert sandbox.paths() == ["/out"]
    assert host.paths() == ["/start"]


async def test_a_redirect_away_from_a_trusted_origin_follows_the_full_rules(sandbox: Host, trap: Trap) -> None:
    origin = f"http://127.0.0.1:{sandbox.port}"
    fetcher = ImageFetcher(trusted_origins=[origin])
    for location in (f"http://127.0.0.1:{trap.port}/", f"https://127.0.0.1:{trap.port}/", "https://10.0.0.1/"):
        sandbox.answers["/start"] = redirect(location)
        with pytest.raises(AddressRefused):
            await fetcher.fetch(f"{origin}/start")
    assert not trap.was_reached()
    await fetcher.aclose()


async def test_a_redirect_inside_a_trusted_origin_is_followed(sandbox: Host) -> None:
    origin = f"http://127.0.0.1:{sandbox.port}"
    sandbox.answers |= {"/start": redirect("/b"), "/b": answer(PNG)}
    fetcher = ImageFetcher(trusted_origins=[origin])
    assert (await fetcher.fetch(f"{origin}/start")).data == PNG
    await fetcher.aclose()


async def test_a_redirect_that_leads_nowhere_is_unavailable(fetcher: ImageFetcher, host: Host) -> None:
    host.answers["/start"] = answer(status="302 Found")
    with pytest.raises(ImageUnavailable, match="answered 302"):
        await fetcher.fetch(START)
