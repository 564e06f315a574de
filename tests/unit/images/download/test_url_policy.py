"""Parsing URLs, and the messages of refusals."""

from __future__ import annotations

import pytest

from nano_banana_mcp.images.download.url_policy import Target
from nano_banana_mcp.images.errors import AddressRefused


@pytest.mark.parametrize(
    ("url", "origin", "host", "port", "path", "host_header"),
    [
        ("https://Pictures.Example", "https://pictures.example", "pictures.example", 443, "/", "pictures.example"),
        ("HTTP://a.example:80/x", "http://a.example:80", "a.example", 80, "/x", "a.example"),
        ("http://a.example:443/", "http://a.example:443", "a.example", 443, "/", "a.example:443"),
        ("https://a.example:80/", "https://a.example:80", "a.example", 80, "/", "a.example:80"),
        ("https://a.example:1/", "https://a.example:1", "a.example", 1, "/", "a.example:1"),
        ("https://a.example:65535/", "https://a.example:65535", "a.example", 65535, "/", "a.example:65535"),
        ("https://a.example:/", "https://a.example:", "a.example", 443, "/", "a.example"),
        ("https://a.example./x", "https://a.example.", "a.example", 443, "/x", "a.example"),
        ("https://0x7f.1/", "https://0x7f.1", "127.0.0.1", 443, "/", "127.0.0.1"),
        ("https://[2606:4700:0::1]/", "https://[2606:4700:0::1]", "2606:4700::1", 443, "/", "[2606:4700::1]"),
        ("https://[::1]:8443/", "https://[::1]:8443", "::1", 8443, "/", "[::1]:8443"),
        ("https://a_b-c.example/", "https://a_b-c.example", "a_b-c.example", 443, "/", "a_b-c.example"),
        (
            "https://Bücher.example/",
            "https://bücher.example",
            "xn--bcher-kva.example",
            443,
            "/",
            "xn--bcher-kva.example",
        ),
    ],
)
def test_a_url_is_taken_apart_once(url: str, origin: str, host: str, port: int, path: str, host_header: str) -> None:
    target = Target.parse(url)
    assert (target.scheme, target.origin, target.host) == (origin.partition(":")[0], origin, host)
    assert (target.port, target.path, target.host_header) == (port, path, host_header)
    assert str(target.address) == host if target.address else not host[0].isdigit()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://a.example/?a=1&b=%2F", "/?a=1&b=%2F"),
        ("https://a.example?q", "/?q"),
        ("https://a.example/a%20b~(c)!/;x?y=[z]'\"<>|{}^`", "/a%20b~(c)!/;x?y=[z]'\"<>|{}^`"),
        ("https://a.example/그?ü#fragment", "/%EA%B7%B8?%C3%BC"),
        ("https://a.example/x?", "/x"),
    ],
)
def test_path_and_query_go_as_they_are_and_no_fragment(url: str, path: str) -> None:
    assert Target.parse(url).path == path


TOO_LONG = "https://a.example/" + "a" * (8192 - 18)


def test_a_url_may_be_as_long_as_servers_take_and_not_longer() -> None:
    assert Target.parse(TOO_LONG).path
    with pytest.raises(AddressRefused):
        Target.parse(TOO_LONG + "a")


def test_a_name_may_be_as_long_as_dns_has_it_and_not_longer() -> None:
    label = "a" * 63
    longest = f"{label}.{label}.{label}.{'a' * 61}"
    assert Target.parse(f"https://{longest}/").host == longest
    shy = "\xad"  # which is not there, once it is written for DNS
    assert Target.parse(f"https://{'a.example':{shy}>253}/").host == "a.example"
    for host in (longest + "a", f"ü.{longest}", f"{'a.example':{shy}>254}"):
        with pytest.raises(AddressRefused, match="neither a name nor an address"):
            Target.parse(f"https://{host}/")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://a.example/ ", "The URL is too long, or has spaces, control characters or backslashes in it."),
        ("https://[::1", "The URL cannot be read."),
        ("ftp://a.example/", "The URL is not an https:// URL."),
        ("https://u:p@a.example/", "The URL carries a user name or password."),
        ("https://a.example:1:2/", "The URL's host cannot be read."),
        ("https://a.example:0/", "The URL's port does not exist."),
        ("https://a.example:65536/", "The URL's port does not exist."),
        ("https://256.1.1.1/", "The URL's host is neither a name nor an address."),
        ("https://a..b/", "The URL's host is neither a name nor an address."),
        ("https://" + "ü" * 300 + "/", "The URL's host is neither a name nor an address."),
    ],
)
def test_a_refusal_says_what_is_wrong(url: str, words: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        Target.parse(url)
    assert str(refused.value).startswith(words)
    assert refused.value.__cause__ is None


HERE = Target.parse("https://a.example:8443/folder/a.png?x=1")


@pytest.mark.parametrize(
    ("location", "leads"),
    [
        ("b.png", "https://a.example:8443/folder/b.png"),
        ("/b.png?y#z", "https://a.example:8443/b.png?y"),
        ("?y=2", "https://a.example:8443/folder/a.png?y=2"),
        ("//b.example/", "https://b.example/"),
        ("http://b.example/c", "http://b.example/c"),
    ],
)
def test_a_redirect_leads_where_a_browser_would_go(location: str, leads: str) -> None:
    target = HERE.follow(location)
    assert target.origin + target.path == leads


@pytest.mark.parametrize("location", ["https://[::1", "a b", "a\\b", "a" * 8193, "\n"])
def test_a_redirect_that_cannot_be_read_names_the_host_that_sent_it(location: str) -> None:
    words = "The host a.example redirects to a URL that cannot be read."
    with pytest.raises(AddressRefused) as refused:
        HERE.follow(location)
    assert str(refused.value).startswith(words)


def test_a_location_may_be_as_long_as_a_url() -> None:
    assert Target.parse("https://b.example/").follow(TOO_LONG).host == "a.example"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://a.example/", "The URL is not an https:// URL."),
        ("https://a.example:444/", "The URL names a port other than 443."),
        ("https://localhost/", "The host localhost is an internal network name."),
        ("https://a.local/", "The host a.local is an internal network name."),
        ("https://a.localdomain/", "The host a.localdomain is an internal network name."),
        ("https://a.internal/", "The host a.internal is an internal network name."),
        ("https://a.home.arpa/", "The host a.home.arpa is an internal network name."),
    ],
)
def test_a_url_that_breaks_a_general_rule_is_refused(url: str, words: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        Target.parse(url).require_public_form()
    assert str(refused.value).startswith(words)


@pytest.mark.parametrize(
    "host", ["a.example", "a.arpa", "notlocal", "mylocalhost", "local.example", "[::1]", "10.0.0.1"]
)
def test_a_name_that_only_resembles_an_internal_one_and_an_address_pass_this_check(host: str) -> None:
    Target.parse(f"https://{host}/").require_public_form()


@pytest.mark.parametrize("host", ["a.example", "[::1]", "10.0.0.1"])
def test_a_proxy_may_resolve_names_with_a_dot_and_is_given_addresses(host: str) -> None:
    Target.parse(f"https://{host}/").require_public_name()


def test_a_proxy_is_given_no_name_without_a_dot() -> None:
    with pytest.raises(AddressRefused) as refused:
        Target.parse("https://intranet/").require_public_name()
    assert str(refused.value).startswith("The host intranet is an internal network name.")
