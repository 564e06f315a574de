"""TLS that fails: before the request nothing can have been charged, after it the outcome is unknown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nano_banana_mcp.defapi.errors import NoAnswer, OutcomeUnknown, Unreachable
from tests.support.broken_tls import TlsApi
from tests.support.certificates import Authority
from tests.support.defapi_calls import REQUEST, client_of
from tests.support.forward_proxy import forward_proxy


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsApi]:
    authority = Authority()
    trusted = tmp_path / "authority.pem"
    trusted.write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    server = TlsApi(tmp_path / "tls", authority)
    server.task_id = "ta1"
    yield server
    server.close()


async def test_a_certificate_that_is_trusted_serves(api: TlsApi) -> None:
    async with client_of(api.url) as client:
        assert await client.submit(REQUEST) == "ta1"


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_the_proxy_of_the_environment_serves_beside_variables_that_cannot_be_parsed(
    scheme: str, api: TlsApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(api.url.rpartition(":")[2])
    async with forward_proxy(("127.0.0.1", port)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("http", scheme))
        monkeypatch.setenv("HTTP_PROXY", "foo:bar:baz")
        monkeypatch.setenv("ALL_PROXY", "socks4://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "localhost,::1/128,[::1],10.0.0.0/99")
        # A name that the proxy alone resolves: the connection arrives, and its certificate is for another name.
        async with client_of("https://api.example.invalid") as client:
            with pytest.raises(Unreachable, match="certificate is not trusted"):
                await client.submit(REQUEST)
        assert proxy.tunnels == [("api.example.invalid", 443)]


@pytest.mark.parametrize("mode", ["handshake cut", "handshake reset", "no TLS at all"])
async def test_a_handshake_that_fails_means_that_nothing_was_sent(api: TlsApi, mode: str) -> None:
    api.mode = mode
    async with client_of(api.url) as client:
        with pytest.raises(Unreachable):
            await client.submit(REQUEST)
    assert api.requests == []


@pytest.mark.parametrize("mode", ["unknown authority", "certificate of another name"])
async def test_a_wrong_certificate_is_reported_as_one_and_nothing_was_sent(api: TlsApi, mode: str) -> None:
    api.mode = mode
    async with client_of(api.url) as client:
        with pytest.raises(Unreachable, match="certificate is not trusted"):
            await client.submit(REQUEST)
    assert api.requests == []


async def test_a_tls_stream_that_breaks_amid_the_answer_may_have_been_charged(api: TlsApi) -> None:
    async with client_of(api.url) as client:
        api.mode = "closed after the request"
        with pytest.raises(OutcomeUnknown):
            await client.submit(REQUEST)
        assert api.posts == 1


async def test_bytes_that_were_never_encrypted_amid_the_answer_do_not_lose_the_id(api: TlsApi) -> None:
    """They surface as an ssl.SSLError, which is none of httpx's errors."""
    api.mode = "rubbish within the answer"
    async with client_of(api.url) as client:
        assert await client.submit(REQUEST) == "ta1"
        assert api.posts == 1
        with pytest.raises(NoAnswer, match="TLS broke"):
            await client.query("ta1")
