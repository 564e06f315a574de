"""Which Host and Origin headers are allowed."""

from __future__ import annotations

import httpx
import pytest
from starlette.responses import PlainTextResponse

from nano_banana_mcp.http.middleware.host_names import CheckHostNames, HostNames, allowed_host_names
from nano_banana_mcp.settings import SettingsError, load_settings


def host_names(allowed_hosts: str) -> HostNames:
    return allowed_host_names(load_settings(allowed_hosts=allowed_hosts))


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("images.example.org", "images.example.org"),
        ("images.example.org", "images.example.org:8443"),
        ("images.example.org", "IMAGES.example.ORG."),
        ("Images.Example.org:443", "images.example.org"),
        ("https://images.example.org/mcp", "images.example.org"),
        ("other.example, images.example.org", "images.example.org"),
        ("*.example.org", "a.b.example.org:1"),
        ("10.1.2.3", "10.1.2.3:8000"),
        ("fd00::1", "[fd00::1]:8000"),
        ("[FD00:0::0001]:443", "[fd00::1]"),
        ("images.example.org:*", "images.example.org:8000"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("https://*.bücher.example", "a.xn--bcher-kva.example"),
        ("", "localhost:1"),
        ("", "127.0.0.1"),
        ("", "[::1]:8000"),
    ],
)
def test_an_allowed_name_matches_on_any_port_and_in_any_case(allowed: str, host: str) -> None:
    names = host_names(allowed)
    assert names.allows_host(host)
    assert names.allows_origin(f"http://{host.lower()}")
    assert names.allows_origin(f"https://{host.lower()}")


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("images.example.org", "example.org"),
        ("images.example.org", "images.example.org.evil.example"),
        ("*.example.org", "example.org"),
        ("*.example.org", "evilexample.org"),
        ("", ""),
        ("", "localhost.evil.example"),
        ("", "[::1"),
        ("", "user@evil.example"),
        ("images.example.org", "user@images.example.org"),
        ("images.example.org", "images.example.org#.evil.example"),
        ("images.example.org", "images.example.org:port"),
    ],
)
def test_another_name_is_refused(allowed: str, host: str) -> None:
    assert not host_names(allowed).allows_host(host)
    assert not host_names(allowed).allows_origin(f"https://{host}")


@pytest.mark.parametrize("origin", ["null", "ftp://localhost", "localhost", "file://", "https://"])
def test_an_origin_that_is_not_http_is_refused(origin: str) -> None:
    assert not host_names("").allows_origin(origin)


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "a b",
        "images.*.org",
        "https://",
        "*example.org",
        "/mcp",
        "images.example.org/mcp",
        "10.0.0.0/8",
        "10.0.0.256",
        "*.10.0.0.1",
        "images.example.org:port",
        "http:images.example.org",
        "user@images.example.org",
    ],
)
def test_an_entry_that_can_never_match_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(SettingsError, match=r"NANO_BANANA_ALLOWED_HOSTS.*can never match"):
        host_names(entry)


async def test_a_refusal_names_the_setting_and_the_name_to_add() -> None:
    app = CheckHostNames(PlainTextResponse("served"), host_names(""))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answer = await client.get("/mcp", headers={"Host": "images.example.org:8000"})
        assert answer.status_code == 421
        assert "Add images.example.org to NANO_BANANA_ALLOWED_HOSTS" in answer.text
        assert "<" not in (await client.get("/mcp", headers={"Host": "<b>"})).text
        answer = await client.get("/mcp", headers={"Origin": "https://evil.example"})
        assert answer.status_code == 403


@pytest.mark.parametrize(
    ("host", "status"), [("nano-banana:8000", 200), ("10.1.2.3", 200), ("[fd00::1]:9", 200), ("evil.example", 421)]
)
async def test_internal_endpoints_answer_to_addresses_and_service_names_too(host: str, status: int) -> None:
    app = CheckHostNames(PlainTextResponse("served"), host_names(""), internal=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await client.get("/metrics", headers={"Host": host})).status_code == status
