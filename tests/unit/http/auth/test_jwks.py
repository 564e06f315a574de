"""The issuer's keys: how often they are fetched, and which answers are accepted. Real sockets, a clock of the test."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import jwt
import pytest
from jwt import PyJWKClientError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from nano_banana_mcp.http.auth.jwks import FETCH_BURST, FETCH_INTERVAL_SECONDS, MAX_ANSWER_BYTES, IssuerKeys
from tests.support.authorization_server import AuthorizationServer, serve_authorization
from tests.support.certificates import Authority
from tests.support.fake_internet import Host, answer
from tests.support.fake_internet import listening as listening_host
from tests.support.forward_proxy import forward_proxy
from tests.support.serving import listening, serving

SHORT_LIFETIME_SECONDS = 0.02
PUBLIC_KEY = {"kid": "a", "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def issuer_with_keys(**options: Any) -> AsyncIterator[tuple[AuthorizationServer, IssuerKeys, Clock]]:
    async with serve_authorization() as issuer:
        clock = Clock()
        yield issuer, IssuerKeys(issuer.url, clock=clock, **options), clock


async def has_key(keys: IssuerKeys, issuer: AuthorizationServer, key_id: str | None = None) -> bool:
    try:
        return await keys.signing_key(key_id or str(issuer.keys[-1].kid), "RS256") is not None
    except jwt.PyJWTError:
        return False


async def test_nothing_is_fetched_before_the_first_token() -> None:
    async with issuer_with_keys() as (issuer, keys, _):
        assert issuer.requests == {}
        for _number in range(100):
            assert await has_key(keys, issuer)
        assert issuer.requests == {"metadata": 1, "keys": 1}


async def test_a_key_that_the_issuer_withdrew_is_refused_once_the_keys_are_old() -> None:
    async with issuer_with_keys(lifetime_seconds=SHORT_LIFETIME_SECONDS) as (issuer, keys, _):
        first = str(issuer.keys[0].kid)
        assert await has_key(keys, issuer, first)
        issuer.rotate()
        with anyio.fail_after(60):
            while await has_key(keys, issuer, first):
                await anyio.sleep(SHORT_LIFETIME_SECONDS)


async def test_unknown_key_ids_lead_to_a_few_fetches_and_then_one_in_ten_seconds() -> None:
    async with issuer_with_keys() as (issuer, keys, clock):
        for number in range(100):
            assert not await has_key(keys, issuer, f"garbage-{number}")
        assert issuer.requests["keys"] == FETCH_BURST
        for _number in range(20):
            clock.now += FETCH_INTERVAL_SECONDS / 2
            for number in range(10):
                assert not await has_key(keys, issuer, f"garbage-{number}")
        assert issuer.requests["keys"] == FETCH_BURST + 10
        issuer.rotate()
        clock.now += FETCH_INTERVAL_SECONDS
        assert await has_key(keys, issuer)


async def test_a_known_id_for_another_algorithm_leads_to_no_fetch() -> None:
    async with issuer_with_keys() as (issuer, keys, _):
        for algorithm in ("ES256", "EdDSA"):
            assert await keys.signing_key(str(issuer.keys[-1].kid), algorithm) is None
        assert issuer.requests["keys"] == 1


async def test_requests_at_the_same_time_share_one_fetch() -> None:
    async with issuer_with_keys() as (issuer, keys, _):
        answers: list[bool] = []

        async def ask() -> None:
            answers.append(await has_key(keys, issuer))

        async with anyio.create_task_group() as group:
            for _number in range(100):
                group.start_soon(ask)
        assert answers == [True] * 100
        assert issuer.requests["keys"] == 1


async def test_while_the_issuer_fails_its_last_keys_stay_valid_and_new_ones_are_found_afterwards(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with issuer_with_keys(lifetime_seconds=SHORT_LIFETIME_SECONDS) as (issuer, keys, clock):
        assert await has_key(keys, issuer)
        issuer.down = True
        with anyio.fail_after(60):
            while "its last keys stay valid" not in caplog.text:
                await anyio.sleep(SHORT_LIFETIME_SECONDS)
                assert await has_key(keys, issuer)
        issuer.down = False
        issuer.rotate(keep=True)
        clock.now += FETCH_INTERVAL_SECONDS
        assert await has_key(keys, issuer)


@pytest.mark.slow
@pytest.mark.parametrize(
    "entry", ["x", 7, None, {}, {"kid": "a"}, {"kid": 7, "kty": "RSA"}, {"kid": "a", "kty": "RSA"}]
)
async def test_a_malformed_key_does_not_disable_the_others(entry: object) -> None:
    async with issuer_with_keys() as (issuer, keys, _):
        issuer.published = [entry, issuer.keys[-1].as_dict(private=False)]
        assert await has_key(keys, issuer)


async def test_a_symmetric_key_is_never_used() -> None:
    async with issuer_with_keys() as (issuer, keys, _):
        kid = str(issuer.keys[-1].kid)
        issuer.published = [{"kid": kid, "kty": "oct", "k": "eA"}]
        assert not await has_key(keys, issuer)


async def an_answer(request: Request) -> Response:
    async def endless() -> AsyncIterator[bytes]:
        while not await request.is_disconnected():
            yield b" " * 65_536

    async def dripping() -> AsyncIterator[bytes]:
        while not await request.is_disconnected():
            yield b" "
            await anyio.sleep(0.05)

    answers: dict[str, Callable[[], Response]] = {
        "endless": lambda: StreamingResponse(endless()),
        "dripping": lambda: StreamingResponse(dripping()),
        "large": lambda: Response(b'{"keys": ["' + b"x" * MAX_ANSWER_BYTES + b'"]}'),
        "html": lambda: Response("<html>"),
        "deep": lambda: Response("[" * 100_000),
        "list": lambda: Response("[]"),
        "no-list": lambda: Response('{"keys": {}}'),
        "nothing": lambda: Response('{"other": 1}'),
        "error": lambda: Response("{}", 500),
        "redirect": lambda: RedirectResponse("/good"),
        "good": lambda: JSONResponse({"keys": [PUBLIC_KEY]}),
    }
    return answers[request.path_params["kind"]]()


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["endless", "dripping", "large", "html", "deep", "list", "no-list", "nothing", "error", "redirect", "good"]
)
async def test_an_answer_is_bounded_and_must_have_keys(kind: str) -> None:
    with listening() as (listener, url):
        async with serving(Starlette(routes=[Route("/{kind}", an_answer)]), listener):
            keys = IssuerKeys("https://login.example.org", f"{url}/{kind}", timeout_seconds=0.5)
            with anyio.fail_after(60):
                if kind == "good":
                    assert await keys.signing_key("a", "EdDSA") is not None
                else:
                    with pytest.raises(PyJWKClientError):
                        await keys.signing_key("a", "EdDSA")


async def test_metadata_of_another_issuer_is_refused() -> None:
    async with serve_authorization() as issuer:
        issuer.wrong_issuer = True
        for name in (issuer.url, f"{issuer.url}/"):
            with pytest.raises(PyJWKClientError, match="another issuer"):
                await IssuerKeys(name).signing_key("a", "RS256")
        assert issuer.requests["keys"] == 0


@pytest.mark.parametrize("jwks_uri", ["http://login.example.org/keys", "ftp://x/y", "file:///etc/passwd", "", 7, None])
async def test_keys_are_fetched_from_https_only(jwks_uri: Any) -> None:
    with listening() as (listener, url):

        async def metadata(_: Request) -> Response:
            return JSONResponse({"issuer": url, "jwks_uri": jwks_uri})

        routes = [Route("/.well-known/openid-configuration", metadata)]
        async with serving(Starlette(routes=routes), listener):
            with pytest.raises(PyJWKClientError, match="no https address"):
                await IssuerKeys(url).signing_key("a", "RS256")


@pytest.mark.parametrize("place", ["/{name}/tenant", "/tenant/{name}"])
async def test_the_metadata_of_openid_is_found_too(place: str) -> None:
    place = place.format(name=".well-known/openid-configuration")
    with listening() as (listener, url):

        async def metadata(_: Request) -> Response:
            return JSONResponse({"issuer": f"{url}/tenant", "jwks_uri": f"{url}/good"})

        async with serving(Starlette(routes=[Route(place, metadata), Route("/{kind}", an_answer)]), listener):
            assert await IssuerKeys(f"{url}/tenant").signing_key("a", "EdDSA") is not None


async def test_a_successful_fetch_logs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with issuer_with_keys() as (issuer, keys, _):
        assert await has_key(keys, issuer)
    assert caplog.records == []


async def test_the_keys_come_through_the_proxy_and_by_the_certificates_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    (tmp_path / "authority.pem").write_text(authority.pem)
    issuer, keys_path = "https://issuer.example.invalid", "/keys"
    metadata = {"issuer": issuer, "jwks_uri": f"{issuer}{keys_path}"}
    host = Host(
        {
            "/.well-known/oauth-authorization-server": answer(json.dumps(metadata).encode()),
            keys_path: answer(json.dumps({"keys": [PUBLIC_KEY]}).encode()),
        }
    )
    context = authority.server_context(tmp_path, ["issuer.example.invalid"], [])
    async with listening_host(host, context) as host, forward_proxy(("127.0.0.1", host.port)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "localhost,::1/128")  # a part that httpx cannot parse
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
        assert await IssuerKeys(issuer).signing_key("a", "EdDSA") is not None
        assert proxy.tunnels == [("issuer.example.invalid", 443)] * 2
        proxy.status = "403 Forbidden"
        problem = await anyio.to_thread.run_sync(IssuerKeys(issuer).problem)
        assert problem is not None
        assert "the proxy that HTTPS_PROXY names refused the connection (403)" in problem
        proxy.status = "200 Connection established"
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
        problem = await anyio.to_thread.run_sync(IssuerKeys(issuer).problem)
        assert problem is not None
        assert "SSL_CERT_FILE cannot be used" in problem
