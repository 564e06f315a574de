"""The issuer's keys: how often they are asked for, and what is believed. Real sockets; only the clock is ours."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from nano_banana_mcp.http.auth import jwks as issuer_module
from nano_banana_mcp.http.auth.jwks import (
    AGAIN_SECONDS,
    BURST,
    MAX_ANSWER_BYTES,
    REFILL_SECONDS,
    Issuer,
    Keys,
    NoKeys,
)
from tests.support.authorization_server import AuthorizationServer, serve_authorization
from tests.support.serving import listening, serving


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def keys_of_an_issuer() -> AsyncIterator[tuple[AuthorizationServer, Keys, Clock]]:
    async with serve_authorization() as issuer:
        clock = Clock()
        yield issuer, Keys(Issuer(issuer.url).keys, clock), clock


async def knows(keys: Keys, issuer: AuthorizationServer, key_id: str | None = None) -> bool:
    return await keys.find(key_id or str(issuer.keys[-1].kid), "RS256") is not None


async def test_nothing_is_fetched_before_the_first_token() -> None:
    async with keys_of_an_issuer() as (issuer, keys, _):
        assert issuer.requests == {}
        assert await knows(keys, issuer)
        assert issuer.requests == {"metadata": 1, "keys": 1}


async def test_keys_are_kept_for_300_seconds_unless_the_issuer_says_otherwise() -> None:
    async with keys_of_an_issuer() as (issuer, keys, clock):
        lasting = {"": 300, "public, max-age=120": 120, "max-age=5": 60, "no-store": 60, "max-age=99999999": 3600}
        for said, seconds in lasting.items():
            issuer.headers = {"Cache-Control": said} if said else {}
            issuer.requests.clear()
            assert await knows(keys, issuer)
            assert issuer.requests["keys"] == 1, said
            clock.now += seconds - 1
            for _ in range(100):
                assert await knows(keys, issuer)
            assert issuer.requests["keys"] == 1, said
            clock.now += 2


async def test_a_key_that_the_issuer_took_back_is_refused_once_the_keys_are_old() -> None:
    async with keys_of_an_issuer() as (issuer, keys, clock):
        first = str(issuer.keys[0].kid)
        assert await knows(keys, issuer, first)
        issuer.rotate()
        assert await knows(keys, issuer, first)
        clock.now += 301
        assert not await knows(keys, issuer, first)


async def test_unknown_key_ids_lead_to_a_few_fetches_and_then_one_in_ten_seconds() -> None:
    async with keys_of_an_issuer() as (issuer, keys, clock):
        for number in range(1000):
            assert not await knows(keys, issuer, f"garbage-{number}")
        assert issuer.requests["keys"] == BURST
        for _ in range(20):
            clock.now += REFILL_SECONDS / 2
            for number in range(50):
                assert not await knows(keys, issuer, f"garbage-{number}")
        assert issuer.requests["keys"] == BURST + 10
        issuer.rotate()
        clock.now += REFILL_SECONDS
        assert await knows(keys, issuer)


async def test_a_known_id_for_another_algorithm_leads_to_no_fetch() -> None:
    async with keys_of_an_issuer() as (issuer, keys, _):
        for algorithm in ("ES256", "EdDSA"):
            assert await keys.find(str(issuer.keys[-1].kid), algorithm) is None
        assert issuer.requests["keys"] == 1


async def test_requests_at_the_same_time_share_one_fetch() -> None:
    async with keys_of_an_issuer() as (issuer, keys, _):
        found: list[bool] = []

        async def look() -> None:
            found.append(await knows(keys, issuer))

        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(look)
        assert found == [True] * 100
        assert issuer.requests["keys"] == 1


async def test_a_request_that_is_cancelled_in_its_fetch_leaves_the_fetch_to_the_next() -> None:
    async with keys_of_an_issuer() as (issuer, _, clock):
        asked, go_on = anyio.Event(), anyio.Event()
        real = Issuer(issuer.url)

        async def slow() -> Any:
            asked.set()
            await go_on.wait()
            return await real.keys()

        keys = Keys(slow, clock)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(knows, keys, issuer)
                await asked.wait()
                scope.cancel()
        go_on.set()
        assert await knows(keys, issuer)


async def test_an_issuer_that_fails_keeps_its_last_good_keys_and_is_asked_again_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with keys_of_an_issuer() as (issuer, keys, clock):
        assert await knows(keys, issuer)
        issuer.down = True
        clock.now += 301
        for _ in range(50):
            assert await knows(keys, issuer)
        assert issuer.requests["keys"] == 2
        assert "those of before stay valid" in caplog.text
        issuer.down = False
        issuer.rotate(keep=True)
        clock.now += AGAIN_SECONDS + 1
        assert await knows(keys, issuer)


async def test_keys_that_are_no_keys_take_nothing_away() -> None:
    async with keys_of_an_issuer() as (issuer, keys, clock):
        assert await knows(keys, issuer)
        kid = str(issuer.keys[-1].kid)
        for entry in ("x", 7, None, {}, {"kid": kid}, {"kid": 7, "kty": "RSA"}, {"kid": kid, "kty": "oct", "k": "eA"}):
            issuer.published = [entry, issuer.keys[-1].as_dict(private=False)]
            clock.now += 301
            assert await knows(keys, issuer), entry


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
        "good": lambda: Response('{"keys": [{"kid": "a"}]}'),
    }
    return answers[request.path_params["kind"]]()


@pytest.mark.parametrize(
    "kind", ["endless", "dripping", "large", "html", "deep", "list", "no-list", "nothing", "error", "redirect", "good"]
)
async def test_an_answer_is_bounded_and_believed_only_if_it_has_keys(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(issuer_module, "FETCH_SECONDS", 0.5)
    with listening() as (listener, url):
        async with serving(Starlette(routes=[Route("/{kind}", an_answer)]), listener):
            keys = Issuer("https://login.example.org", f"{url}/{kind}")
            with anyio.fail_after(10):
                if kind == "good":
                    assert (await keys.keys()).keys == [{"kid": "a"}]
                else:
                    with pytest.raises(NoKeys):
                        await keys.keys()


async def test_metadata_of_another_issuer_is_not_believed() -> None:
    async with serve_authorization() as issuer:
        issuer.wrong_issuer = True
        with pytest.raises(NoKeys, match="another issuer"):
            await Issuer(issuer.url).keys()
        with pytest.raises(NoKeys, match="another issuer"):
            await Issuer(f"{issuer.url}/").keys()
        assert issuer.requests["keys"] == 0


@pytest.mark.parametrize("jwks_uri", ["http://login.example.org/keys", "ftp://x/y", "file:///etc/passwd", "", 7, None])
async def test_keys_are_fetched_from_nowhere_unsafe(jwks_uri: Any) -> None:
    with listening() as (listener, url):

        async def metadata(request: Request) -> Response:
            return JSONResponse({"issuer": url, "jwks_uri": jwks_uri})

        routes = [Route("/.well-known/openid-configuration", metadata)]
        async with serving(Starlette(routes=routes), listener):
            with pytest.raises(NoKeys, match="no https address"):
                await Issuer(url).keys()


@pytest.mark.parametrize("place", ["/{name}/tenant", "/tenant/{name}"])
async def test_the_metadata_of_openid_is_found_too(place: str) -> None:
    place = place.format(name=".well-known/openid-configuration")
    with listening() as (listener, url):

        async def metadata(request: Request) -> Response:
            return JSONResponse({"issuer": f"{url}/tenant", "jwks_uri": f"{url}/good"})

        async with serving(Starlette(routes=[Route(place, metadata), Route("/{kind}", an_answer)]), listener):
            assert (await Issuer(f"{url}/tenant").keys()).keys == [{"kid": "a"}]


async def test_nothing_is_logged_at_a_fetch_that_goes_well(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with keys_of_an_issuer() as (issuer, keys, _):
        assert await knows(keys, issuer)
    assert caplog.records == []
