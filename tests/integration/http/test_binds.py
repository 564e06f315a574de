"""Where the server listens, and the names it answers to on each bind."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.to_thread import run_sync as in_thread
from mcp.client import Client

from nano_banana_mcp.http.app import create_app
from nano_banana_mcp.http.auth.bind_policy import BindRefused, check_bind
from nano_banana_mcp.settings import SettingsError, load_settings
from tests.support.clients import text
from tests.support.handshake import INITIALIZE
from tests.support.http_server import at, free_port, served
from tests.support.sandbox import plain_sandbox
from tests.support.serving import listening, serving
from tests.support.team import ACCEPT, bearer, grant


def status(url: str, **headers: str) -> int:
    return httpx.post(url, json=INITIALIZE, headers={**ACCEPT, **headers}, trust_env=False).status_code


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "pictures.example.org", "127.0.0.1,0.0.0.0"])
def test_an_open_bind_without_authentication_is_refused_and_both_ways_out_are_named(host: str) -> None:
    with pytest.raises(BindRefused) as refused:
        check_bind(load_settings(host=host, sandbox=True))
    words = (
        host.rsplit(",", maxsplit=1)[-1],
        "NANO_BANANA_TOKENS_FILE",
        "NANO_BANANA_OAUTH_ISSUER",
        "--allow-unauthenticated",
    )
    assert all(word in str(refused.value) for word in words)


@pytest.mark.parametrize("host", [" , ", ",", "127.0.0.1:9000", "[::1]:9000"])
def test_a_host_without_an_address_or_with_a_port_is_refused_in_one_line(host: str) -> None:
    with pytest.raises(SettingsError, match=r"\ANANO_BANANA_HOST: must [^\n]*\Z"):
        load_settings(host=host)


def test_an_open_bind_that_is_allowed_listens_and_warns() -> None:
    with served("--host", "0.0.0.0", "--allow-unauthenticated", "--sandbox") as server:
        assert "anyone who reaches 0.0.0.0 can spend your credits" in server.warnings[0]
        assert "NANO_BANANA_ALLOWED_HOSTS" in server.warnings[1]
        url = f"http://127.0.0.1:{server.port}/mcp"
        assert status(url) == 200
        assert status(url, Host="evil.example") == 421
        assert status(url, Origin="https://evil.example") == 403


def test_with_authentication_an_open_bind_needs_no_warning(tmp_path: Path) -> None:
    token = grant(tmp_path / "tokens.json", "alice")
    settings: dict[str, Any] = {
        "NANO_BANANA_TOKENS_FILE": str(tmp_path / "tokens.json"),
        "NANO_BANANA_ALLOWED_HOSTS": "pictures.lan",
    }
    with served("--host", "0.0.0.0", "--sandbox", **settings) as server:
        assert server.warnings == []
        url = f"http://127.0.0.1:{server.port}/mcp"
        assert status(url) == 401
        assert status(url, **bearer(token)) == 200
        for host in ("pictures.lan", "pictures.lan:8000", "Pictures.LAN:1"):
            assert status(url, Host=host, **bearer(token)) == 200, host
        for host in ("0.0.0.0", f"192.0.2.1:{server.port}", "evil.example", "pictures.lan.evil.example"):
            assert status(url, Host=host, **bearer(token)) == 421, host


@pytest.mark.parametrize(("host", "is_shown"), [("127.0.0.1,127.0.0.2", True), ("127.0.0.1,0.0.0.0", False)])
async def test_the_balance_is_shown_where_only_this_machine_can_reach_the_server(host: str, is_shown: bool) -> None:
    async with (
        plain_sandbox(credit="4321.000000") as sandbox,
        served("--host", host, "--allow-unauthenticated", **at(sandbox.url)) as server,
        Client(f"http://127.0.0.1:{server.port}/mcp") as client,
    ):
        assert ("4321" in text(await client.call_tool("get_account"))) is is_shown


def test_a_loopback_address_of_any_kind_needs_no_authentication_and_is_a_name_of_its_own() -> None:
    with served("--host", "127.0.0.2", "--sandbox") as server:
        assert status(server.url) == 200
        assert status(server.url, Origin=server.root) == 200
        assert status(server.url, Host=f"127.0.0.3:{server.port}") == 421


@pytest.mark.parametrize(
    "options",
    [
        ["--host", "127.0.0.1, 127.0.0.2"],
        ["--host", "127.0.0.2", "--host", "127.0.0.1"],
        ["--host=127.0.0.1", "--host=127.0.0.2,127.0.0.1"],
        ["--host", "127.0.0.2", "--host", "0.0.0.0", "--allow-unauthenticated"],
    ],
)
def test_several_addresses_are_listened_on_at_one_port(options: list[str]) -> None:
    with served(*options, "--sandbox") as server:
        for address in ("127.0.0.1", "127.0.0.2"):
            assert status(f"http://{address}:{server.port}/mcp") == 200


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::", "[::]", "0::0", "::,0.0.0.0", "127.0.0.1,::,::1"])
def test_the_unspecified_ipv6_address_listens_on_ipv4_too(host: str) -> None:
    with served("--host", host, "--allow-unauthenticated", "--sandbox") as server:
        for address in ("127.0.0.1", "[::1]"):
            assert status(f"http://{address}:{server.port}/mcp") == 200


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_bind_answers_to_its_address() -> None:
    with served("--host", "::1", "--sandbox") as server:
        assert server.url == f"http://[::1]:{server.port}/mcp"
        assert status(server.url) == 200
        assert status(server.url, Host="evil.example") == 421


@pytest.mark.parametrize(
    ("public_url", "host", "origin"),
    [
        ("https://pictures.example.org", "pictures.example.org", "https://pictures.example.org"),
        ("https://pictures.example.org:8443/nb", "pictures.example.org:8443", "https://pictures.example.org:8443"),
    ],
)
def test_the_public_url_is_an_allowed_name(public_url: str, host: str, origin: str) -> None:
    with served("--sandbox", NANO_BANANA_PUBLIC_URL=public_url) as server:
        assert status(server.url, Host=host, Origin=origin) == 200
        assert status(server.url, Host="example.org") == 421
        assert status(server.url, Host=host, Origin="https://pictures.example.org.evil.example") == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "10.1.2.3"])
async def test_under_another_server_the_names_and_the_tokens_hold_too(tmp_path: Path, host: str) -> None:
    """As under gunicorn, hypercorn or uvicorn's own command, where the bind is not checked."""
    token = grant(tmp_path / "tokens.json", "alice")
    values: dict[str, Any] = {"host": host, "port": free_port(), "sandbox": True, "state_dir": tmp_path}
    app = create_app(load_settings(tokens_file=tmp_path / "tokens.json", **values))
    with listening() as (listener, root):
        async with serving(app, listener, lifespan="on"):
            url = f"{root}/mcp"
            assert await in_thread(lambda: status(url)) == 401
            assert await in_thread(lambda: status(url, **bearer(token))) == 200
            assert await in_thread(lambda: status(url, Host="evil.example", **bearer(token))) == 421
            assert await in_thread(lambda: status(url, Origin="http://evil.example", **bearer(token))) == 403
            answered = 421 if host == "0.0.0.0" else 200
            assert await in_thread(lambda: status(url, Host=f"{host}:80", **bearer(token))) == answered


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("127.0.0.1.evil.example:80", 421),
        ("10.1.2.3.example", 421),
        ("nano-banana:8000", 200),
        ("localhost:1", 200),
        ("10.1.2.3:9090", 200),
        ("[fd00::1]:9090", 200),
    ],
)
async def test_operator_endpoints_answer_to_configured_names_and_to_ip_addresses(host: str, status: int) -> None:
    async with asking() as client:
        for path in ("/metrics", "/readyz"):
            answer = await client.get(path, headers={"Host": host})
            assert answer.status_code in ({status, 503} if status == 200 else {status})
        assert (await client.get("/healthz", headers={"Host": host})).status_code == 200


async def test_no_answer_repeats_a_foreign_host_or_reveals_the_webhook() -> None:
    async with asking() as client:
        slash = await client.get("/healthz/", headers={"Host": "evil.example"})
        assert slash.status_code == 404
        missing = await client.get("/webhooks/x")
        for method in ("GET", "PUT", "DELETE", "OPTIONS", "POST"):
            answer = await client.request(method, "/webhooks/x/y")
            assert (answer.status_code, answer.text) == (404, missing.text)


def asking() -> httpx.AsyncClient:
    app = create_app(load_settings(sandbox=True, public_url="https://pictures.example", webhook_keys="k" * 32))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
