"""Answers of resolvers as networks really give them, by a resolver of the test's own."""

import pytest

from nano_banana_mcp.images.download.fetcher import ImageFetcher
from nano_banana_mcp.images.errors import AddressRefused
from tests.support.fake_internet import PUBLIC, Host, Internet, NewFetcher, answer
from tests.support.image_samples import PNG

URL = "https://pictures.example/a.png"
SYNTHETIC = "198.18.0.5"


@pytest.fixture(autouse=True)
def image(host: Host) -> None:
    host.answers["/a.png"] = answer(PNG)


@pytest.mark.parametrize("ip", ["64:ff9b::5db8:d70e", "64:ff9b::93.184.215.14"])
async def test_the_ipv4_address_in_a_nat64_address_counts(ip: str, fetcher: ImageFetcher, internet: Internet) -> None:
    internet.names["pictures.example"] = [[ip]]
    assert (await fetcher.fetch(URL)).data == PNG
    assert internet.connections == [(ip, 443)]


@pytest.mark.parametrize(
    "answers",
    [
        ["10.0.0.1", PUBLIC],
        ["::1", PUBLIC, "fd00::1"],
        ["rubbish", PUBLIC],
        ["64:ff9b::a00:1", PUBLIC],
        [SYNTHETIC, PUBLIC],
        ["127.0.0.1"] * 9 + [PUBLIC],
    ],
)
async def test_of_a_mixed_answer_the_public_addresses_are_used(
    answers: list[str], fetcher: ImageFetcher, internet: Internet
) -> None:
    internet.names["pictures.example"] = [answers]
    assert (await fetcher.fetch(URL)).data == PNG
    assert internet.connections == [(PUBLIC, 443)]


async def test_a_synthetic_address_is_refused_with_its_likely_cause(fetcher: ImageFetcher, internet: Internet) -> None:
    internet.names["pictures.example"] = [[SYNTHETIC]]
    with pytest.raises(AddressRefused, match=r"fake-IP DNS \(Clash, Surge, sing-box\).*NANO_BANANA_TRUST_RESOLVER"):
        await fetcher.fetch(URL)
    assert not internet.connections


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (["0.0.0.0", "::"], "a filter blocks its name"),
        (["10.1.2.3"], "its name has private addresses only"),
        (["0.0.0.0", "10.1.2.3"], "its name has private addresses only"),
    ],
)
async def test_another_private_answer_is_refused_with_its_cause_and_without_the_address(
    answers: list[str], words: str, fetcher: ImageFetcher, internet: Internet
) -> None:
    internet.names["pictures.example"] = [answers]
    with pytest.raises(AddressRefused, match=words) as refused:
        await fetcher.fetch(URL)
    assert "10.1.2.3" not in str(refused.value)


@pytest.mark.parametrize("ip", [SYNTHETIC, "198.19.255.255"])
async def test_a_trusted_resolver_may_answer_synthetic_addresses(
    ip: str, new_fetcher: NewFetcher, internet: Internet
) -> None:
    internet.names["pictures.example"] = [[ip, "fd00::1", "10.0.0.1"]]
    assert (await new_fetcher(trust_resolver=True).fetch(URL)).data == PNG
    assert internet.connections == [(ip, 443)]


@pytest.mark.parametrize(
    "ip", ["10.0.0.1", "127.0.0.1", "198.20.0.0.", "64:ff9b::c612:5", "fc00::5", "169.254.169.254"]
)
async def test_a_trusted_resolver_is_trusted_with_no_other_private_address(
    ip: str, new_fetcher: NewFetcher, internet: Internet
) -> None:
    internet.names["pictures.example"] = [[ip]]
    with pytest.raises(AddressRefused):
        await new_fetcher(trust_resolver=True).fetch(URL)
    assert not internet.connections


@pytest.mark.parametrize("literal", [SYNTHETIC, "0xc6120005", "198.18.5", "[64:ff9b::c612:5]", "[::ffff:198.18.0.5]"])
async def test_a_literal_synthetic_address_is_never_trusted(
    literal: str, new_fetcher: NewFetcher, internet: Internet
) -> None:
    with pytest.raises(AddressRefused):
        await new_fetcher(trust_resolver=True).fetch(f"https://{literal}/a.png")
    assert not internet.connections
