"""Static tokens: a real server, real clients of both eras, the real command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.to_thread import run_sync as in_thread
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import MCPServer
from mcp.types import BlobResourceContents
from starlette.applications import Starlette
from starlette.routing import Route

from nano_banana_mcp.http.auth.authentication import open_authentication
from nano_banana_mcp.http.auth.users_file import BadPrincipals, OwnLimits, digest, new_token
from nano_banana_mcp.settings import load_settings
from tests.support.clients import KEY, facts, text
from tests.support.command_line import run_here
from tests.support.handshake import INITIALIZE, INITIALIZED
from tests.support.http_server import at, served
from tests.support.sandbox import plain_sandbox
from tests.support.serving import listening, serving
from tests.support.team import ACCEPT, REFUSED, bearer, client_with, grant, post, watched_sandbox


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_with_a_token_an_image_arrives_and_nothing_of_the_token_leaves(
    tmp_path: Path, mode: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    token = grant(tmp_path / "tokens.json", "alice")
    async with (
        watched_sandbox() as (sandbox, egress),
        served(**at(sandbox.url, NANO_BANANA_TOKENS_FILE=str(tmp_path / "tokens.json"))) as server,
    ):
        async with client_with(server.url, mode, token=token) as client:
            made = await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
            assert facts(made)["status"] == "success"
            assert facts(await client.call_tool("get_task", {"task_id": facts(made)["task_id"]}))["finished"]
            contents = (await client.read_resource(facts(made)["images"][0]["url"])).contents[0]
            assert isinstance(contents, BlobResourceContents)
        assert sandbox.stats.files >= 1
    assert set(egress.keys()) == {KEY}
    assert "tools/call: ok" in caplog.text
    for place in (*egress.requests, caplog.text.encode(), (tmp_path / "tokens.json").read_bytes()):
        assert token.encode() not in place


async def test_any_text_that_is_no_token_gets_the_same_refusal_and_is_not_sent_on(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    token = grant(tmp_path / "tokens.json", "alice")
    wrong = {
        "another": new_token(),
        "truncated": token[:-1],
        "longer": f"{token}x",
        "its hash": digest(token),
        "the key": KEY,
        "a name": "alice",
        "oversized": "x" * 20_000,
        "padded": f" {token}",
        "letters": "é" * 20,
        "a list": f"{token},{token}",
    }
    async with (
        watched_sandbox() as (sandbox, egress),
        served(**at(sandbox.url, NANO_BANANA_TOKENS_FILE=str(tmp_path / "tokens.json"))) as server,
    ):

        def answers() -> dict[str, httpx.Response]:
            given: dict[str, dict[bytes, bytes]] = {
                name: {b"Authorization": f"Bearer {item}".encode("latin-1")} for name, item in wrong.items()
            }
            accept = {name.encode(): value.encode() for name, value in ACCEPT.items()}
            given["no header"] = {}
            given["nothing"] = {b"Authorization": b"Bearer"}
            given["another scheme"] = {b"Authorization": f"Basic {token}".encode()}
            given["no scheme"] = {b"Authorization": token.encode()}
            return {
                name: httpx.post(server.url, json=INITIALIZE, headers={**accept, **headers}, trust_env=False)
                for name, headers in given.items()
            }

        refused = await in_thread(answers)
        record_property("cases", len(refused))
        for name, answer in refused.items():
            assert (answer.status_code, answer.json()) == (401, REFUSED), name
            assert answer.headers["www-authenticate"].startswith("Bearer "), name
            assert "resource_metadata" not in answer.headers["www-authenticate"]
        assert (await in_thread(post, server.url, token, INITIALIZE)).status_code == 200
    assert egress.requests == []


async def test_endpoints_without_identity_stay_open(tmp_path: Path) -> None:
    grant(tmp_path / "tokens.json", "alice")
    settings: dict[str, Any] = {
        "NANO_BANANA_TOKENS_FILE": str(tmp_path / "tokens.json"),
        "NANO_BANANA_PUBLIC_URL": "https://pictures.example.org",
    }
    async with served("--sandbox", **settings) as server:
        for path in ("healthz", "readyz"):
            assert (await in_thread(httpx.get, f"{server.root}/{path}")).status_code == 200
        # The webhook's own refusal, not a question for a token.
        assert (await in_thread(httpx.post, f"{server.root}/webhooks/in-1/x")).status_code == 404
        for method in ("GET", "DELETE", "PUT", "OPTIONS"):
            assert (await in_thread(httpx.request, method, server.url)).status_code == 401


async def test_a_broken_file_keeps_the_earlier_tokens_and_is_logged_once_without_its_content(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens.json"
    token = grant(file, "alice")
    good = file.read_bytes()
    async with served("--sandbox", NANO_BANANA_TOKENS_FILE=str(file)) as server:
        for broken in (b'{"principals": {"mallory-canary"', b'{"principals": {"m": {"secret-canary": 1}}}'):
            file.write_bytes(broken)
            for _ in range(3):
                assert (await in_thread(post, server.url, token, INITIALIZE)).status_code == 200
        file.unlink()
        for _ in range(3):
            assert (await in_thread(post, server.url, token, INITIALIZE)).status_code == 200
        file.write_bytes(good.replace(digest(token).encode(), b"0" * 64))
        assert (await in_thread(post, server.url, token, INITIALIZE)).status_code == 401
    assert caplog.text.count("the previous tokens stay valid") == 3
    assert "canary" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_session_of_one_principal_is_not_there_for_another(tmp_path: Path) -> None:
    alice, bob = grant(tmp_path / "tokens.json", "alice"), grant(tmp_path / "tokens.json", "bob")
    second = grant(tmp_path / "tokens.json", "alice")
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    async with served("--sandbox", NANO_BANANA_TOKENS_FILE=str(tmp_path / "tokens.json")) as server:

        def in_session() -> dict[str, int]:
            session = {"Mcp-Session-Id": post(server.url, alice, INITIALIZE).headers["mcp-session-id"]}
            post(server.url, alice, INITIALIZED, **session)
            return {
                "alice": post(server.url, alice, listing, **session).status_code,
                "her other token": post(server.url, second, listing, **session).status_code,
                "bob": post(server.url, bob, listing, **session).status_code,
                "bob ends it": httpx.delete(server.url, headers={**bearer(bob), **session}).status_code,
                "nobody": post(server.url, None, listing, **session).status_code,
                "alice again": post(server.url, alice, listing, **session).status_code,
            }

        statuses = await in_thread(in_session)
    assert statuses == {
        "alice": 200,
        "her other token": 200,
        "bob": 404,
        "bob ends it": 404,
        "nobody": 401,
        "alice again": 200,
    }


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_has_the_name_of_its_principal_but_not_the_token(tmp_path: Path, mode: Any) -> None:
    """What tasks, limits and keys by principal are built on, in either era and with calls that overlap."""
    tokens = {name: grant(tmp_path / "tokens.json", name) for name in ("alice", "bob", "c@d.e")}
    authentication = open_authentication(load_settings(tokens_file=tmp_path / "tokens.json"))
    assert authentication is not None
    mcp = MCPServer("who")
    all_in = asyncio.Barrier(len(tokens))

    @mcp.tool()
    async def who() -> str:
        before = get_access_token()
        await all_in.wait()
        after = get_access_token()
        assert before == after
        return "" if after is None else f"{after.client_id} {after.token}".strip()

    app = mcp.streamable_http_app()
    route = app.routes[0]
    assert isinstance(route, Route)
    protected = Starlette(
        routes=[Route("/mcp", authentication.protect(route.app))], lifespan=app.router.lifespan_context
    )
    with listening() as (listener, url):
        async with serving(protected, listener, lifespan="on"):

            async def ask(name: str) -> None:
                async with client_with(f"{url}/mcp", mode, token=tokens[name]) as client:
                    for _ in range(3):
                        assert text(await client.call_tool("who", {})) == name

            async with asyncio.TaskGroup() as group:
                for name in tokens:
                    group.create_task(ask(name))


def test_keys_and_limits_of_a_principal_are_those_of_the_file_as_it_is_now(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    limits = OwnLimits(calls_per_minute=3, credits_per_day=Decimal("2.5"), confirm="always")
    grant(file, "alice", api_key="dk-hers", limits=limits)
    authentication = open_authentication(load_settings(tokens_file=file))
    assert authentication is not None
    own = authentication.api_key_for("alice")
    assert own is not None
    assert own.get_secret_value() == "dk-hers"
    assert authentication.limits_for("alice") == limits
    for stranger in ("bob", "oauth:ann", ""):
        assert authentication.api_key_for(stranger) is None
        assert authentication.limits_for(stranger) == OwnLimits()
    run_here("token", "key", "oauth:ann", "--file", str(file), stdin="dk-anns\n")
    anns = authentication.api_key_for("oauth:ann")
    assert anns is not None
    assert anns.get_secret_value() == "dk-anns"
    assert authentication.limits_for("alice") == limits
    assert "dk-" not in repr(authentication.api_key_for("alice"))


@pytest.mark.parametrize(("value", "text"), [("always", "always"), ("Never", "never"), (2, "2"), (2.5, "2.5")])
def test_confirm_in_the_file_is_a_word_or_a_number(value: object, text: str, tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({"principals": {"alice": {"limits": {"confirm": value}}}}))
    file.chmod(0o600)
    authentication = open_authentication(load_settings(tokens_file=file))
    assert authentication is not None
    assert authentication.limits_for("alice").confirm == text
    assert authentication.has_confirm is (text != "never")


@pytest.mark.parametrize("value", ["sometimes", -1, True, []])
def test_another_confirm_in_the_file_is_refused(value: object, tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({"principals": {"alice": {"limits": {"confirm": value}}}}))
    file.chmod(0o600)
    with pytest.raises(BadPrincipals, match="must be never, always or a number of credits"):
        open_authentication(load_settings(tokens_file=file))


def test_without_any_setting_there_is_no_authentication() -> None:
    assert open_authentication(load_settings()) is None


async def test_a_principal_of_the_file_and_none_at_all_meet_the_same_server(tmp_path: Path) -> None:
    """Without the setting nothing is asked: the way it was on loopback before."""
    token = grant(tmp_path / "tokens.json", "alice")
    async with plain_sandbox() as sandbox, served(**at(sandbox.url)) as server:
        assert (await in_thread(post, server.url, None, INITIALIZE)).status_code == 200
        assert (await in_thread(post, server.url, token, INITIALIZE)).status_code == 200
