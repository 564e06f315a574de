from ipaddress import ip_address

import pytest

from nano_banana_mcp.images.download.ip_policy import ipv4_from_spelling, is_public, is_synthetic, is_unspecified
from tests.support.url_corpus import CLOSED, OPEN


@pytest.mark.parametrize("ip", CLOSED)
def test_an_address_outside_the_public_internet_is_not_public(ip: str) -> None:
    assert not is_public(ip)
    assert not is_public(ip_address(ip))


@pytest.mark.parametrize("ip", OPEN)
def test_an_address_of_the_public_internet_is_public(ip: str) -> None:
    assert is_public(ip)
    assert is_public(ip_address(ip))


@pytest.mark.parametrize("text", ["", "localhost", "010.0.0.1", "127.1", "1.2.3.4 ", "[::1]", "2606:4700::1%eth0"])
def test_text_that_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize(
    ("ip", "is_made_up"),
    [("198.18.0.1", True), ("198.19.255.255", True), ("198.20.0.0", False), ("::1", False), ("example.com", False)],
)
def test_addresses_that_proxy_programs_make_up_are_recognised(ip: str, is_made_up: bool) -> None:
    assert is_synthetic(ip) is is_made_up


@pytest.mark.parametrize(
    ("ip", "is_blocked"), [("0.0.0.0", True), ("::", True), ("0.0.0.1", False), ("::1", False), ("example.com", False)]
)
def test_addresses_that_filters_answer_for_blocked_names_are_recognised(ip: str, is_blocked: bool) -> None:
    assert is_unspecified(ip) is is_blocked


@pytest.mark.parametrize(
    ("host", "ip"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("1.2.3", "1.2.0.3"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0X7F.0x0.0.01", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("0x", "0.0.0.0"),
        ("8.8.2056", "8.8.8.8"),
        ("1234567890", "73.150.2.210"),
        ("255.255.255.255", "255.255.255.255"),
    ],
)
def test_every_spelling_of_an_ipv4_address_is_read_as_browsers_read_it(host: str, ip: str) -> None:
    assert str(ipv4_from_spelling(host)) == ip


@pytest.mark.parametrize("host", ["example.com", "1.example", "a.1.b", "", "127.0.0.1x"])
def test_a_name_is_not_a_spelling(host: str) -> None:
    assert ipv4_from_spelling(host) is None


@pytest.mark.parametrize(
    "host",
    [
        "256.1.1.1",
        "1.256.1.1",
        "1.2.3.256",
        "1.2.3.4.5",
        "08.1.1.1",
        "1..1",
        "4294967296",
        "example.1",
        "0xg",
        "1_0.1.1.1",
        "+1.1.1.1",
        " 1.1.1.1",
        "1.1.1.١",
        "0x_1",
        "9" * 4_000,
        "9" * 5_000,
        "0x" + "f" * 5_000,
    ],
)
def test_a_host_that_ends_in_a_number_and_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any reason will do
        ipv4_from_spelling(host)
