"""Where the server listens, and the names it answers to on each bind."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.to_thread import run_sync as in_thread

from nano_banana_mcp.http.app import create_app
from nano_banana_mcp.settings import load_settings
from tests.integration.cli.test_cli import run
from tests.integration.http.team import ACCEPT, bearer, grant
from tests.integration.http.test_webhook import free_port
from tests.support.clients import child
from tests.support.handshake import INITIALIZE
from tests.support.serving import listening, serving


@contextmanager
def started(*arguments: str, lines: int, **settings: str) -> Iterator[tuple[int, list[str]]]:
    """A server on any bind: its port, and the first lines that it writes to stderr."""
    parameters = child("serve", "--http", "--port", "0", "--sandbox", *arguments, **settings)
    with subprocess.Popen(
        [parameters.command, *parameters.args],
        env=parameters.env,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(lines)]
        found = re.search(r"http://\S+:(\d+)/mcp", said[0])
        assert found, said
        try:
            yield int(found[1]), said
        finally:
            process.kill()


def status(url: str, **headers: str) -> int:
    return httpx.post(url, json=INITIALIZE, headers={**ACCEPT, **headers}, trust_env=False).status_code


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "pictures.example.org"])
def test_an_open_bind_without_authentication_is_refused_and_both_ways_out_are_named(host: str) -> None:
    ended = run("serve", "--http", "--host", host, "--port", "0", "--sandbox")
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    for word in (host, "NANO_BANANA_TOKENS_FILE", "NANO_BANANA_OAUTH_ISSUER", "--allow-unauthenticated"):
        assert word in line


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        (["--allow-unauthenticated"], {}),
        ([], {"NANO_BANANA_ALLOW_UNAUTHENTICATED": "true"}),
    ],
)
def test_said_out_loud_it_listens_and_warns(flags: list[str], settings: dict[str, str]) -> None:
    with started("--host", "0.0.0.0", *flags, lines=3, **settings) as (port, said):
        assert "anyone who reaches 0.0.0.0 can spend your credits" in said[1]
        assert "NANO_BANANA_ALLOWED_HOSTS" in said[2]
        assert status(f"http://127.0.0.1:{port}/mcp") == 200
        assert status(f"http://127.0.0.1:{port}/mcp", Host="evil.example") == 421
        assert status(f"http://127.0.0.1:{port}/mcp", Origin="https://evil.example") == 403


def test_with_authentication_an_open_bind_is_fine(tmp_path: Path) -> None:
    token = grant(tmp_path / "tokens.json", "alice")
    settings = {
        "NANO_BANANA_TOKENS_FILE": str(tmp_path / "tokens.json"),
        "NANO_BANANA_ALLOWED_HOSTS": "pictures.lan:8000",
    }
    with started("--host", "0.0.0.0", lines=1, **settings) as (port, _):
        url = f"http://127.0.0.1:{port}/mcp"
        assert status(url) == 401
        assert status(url, **bearer(token)) == 200
        assert status(url, Host="pictures.lan:8000", **bearer(token)) == 200
        assert status(url, Host="pictures.lan:8000", Origin="https://pictures.lan:8000", **bearer(token)) == 200
        for host in ("pictures.lan", "pictures.lan:8001", "0.0.0.0", f"192.0.2.1:{port}", "evil.example"):
            assert status(url, Host=host, **bearer(token)) == 421, host


def test_a_loopback_address_of_any_kind_needs_no_authentication_and_is_a_name_of_its_own() -> None:
    with started("--host", "127.0.0.2", lines=1) as (port, _):
        url = f"http://127.0.0.2:{port}/mcp"
        assert status(url) == 200
        assert status(url, Origin=f"http://127.0.0.2:{port}") == 200
        assert status(url, Host=f"127.0.0.3:{port}") == 421


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_bind_answers_to_its_address() -> None:
    with started("--host", "::1", lines=1) as (port, said):
        assert f"http://[::1]:{port}/mcp" in said[0]
        assert status(f"http://[::1]:{port}/mcp") == 200
        assert status(f"http://[::1]:{port}/mcp", Host="evil.example") == 421


@pytest.mark.parametrize(
    ("public_url", "host", "origin"),
    [
        ("https://pictures.example.org", "pictures.example.org", "https://pictures.example.org"),
        ("https://pictures.example.org:8443/nb", "pictures.example.org:8443", "https://pictures.example.org:8443"),
    ],
)
def test_the_public_url_is_a_name_with_its_port(public_url: str, host: str, origin: str) -> None:
    with started(lines=1, NANO_BANANA_PUBLIC_URL=public_url) as (port, _):
        url = f"http://127.0.0.1:{port}/mcp"
        assert status(url, Host=host, Origin=origin) == 200
        assert status(url, Host=f"{host}1") == 421
        assert status(url, Host="example.org") == 421
        assert status(url, Host=host, Origin=f"{origin}.evil.example") == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "10.1.2.3"])
async def test_under_another_server_the_names_and_the_tokens_hold_too(tmp_path: Path, host: str) -> None:
    """As under gunicorn, hypercorn or uvicorn's own command, where nobody checks the bind."""
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
        ("localhost:1", 200),
        ("10.1.2.3:9090", 200),
        ("[fd00::1]:9090", 200),
    ],
)
async def test_what_is_for_operators_answers_names_of_ours_and_addresses(host: str, status: int) -> None:
    async with asking() as client:
        for path in ("/metrics", "/readyz"):
            answer = await client.get(path, headers={"Host": host})
            assert answer.status_code in ({status, 503} if status == 200 else {status})
        assert (await client.get("/healthz", headers={"Host": host})).status_code == 200


async def test_no_answer_repeats_a_foreign_host_or_tells_of_the_webhook() -> None:
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
