"""Requests of clients besides the plain protocol: slashes, headers in any case, resumed streams, preflights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from nano_banana_mcp.http.app import create_app
from nano_banana_mcp.settings import load_settings
from tests.support.handshake import INITIALIZE, INITIALIZED
from tests.support.http_server import served
from tests.support.team import ACCEPT, bearer, grant

ORIGIN = "https://images.example.org"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,mcp-session-id,mcp-protocol-version",
}


def test_a_trailing_slash_and_a_content_type_in_any_case_are_served() -> None:
    with served("--sandbox") as server:
        for content_type in ("Application/JSON", "application/json; charset=UTF-8"):
            headers = {**ACCEPT, "Content-Type": content_type}
            answer = httpx.post(f"{server.url}/", json=INITIALIZE, headers=headers, trust_env=False)
            assert answer.status_code == 200
            assert answer.headers["mcp-session-id"]


def test_a_stream_with_a_last_event_id_is_opened() -> None:
    with served("--sandbox") as server, httpx.Client(trust_env=False, headers=ACCEPT) as client:
        session = {"Mcp-Session-Id": client.post(server.url, json=INITIALIZE).headers["mcp-session-id"]}
        client.post(server.url, json=INITIALIZED, headers=session)
        with client.stream("GET", server.url, headers={**session, "Last-Event-ID": "7"}) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            client.delete(server.url, headers=session)


def test_a_refused_first_request_names_no_session() -> None:
    with served("--sandbox") as server:
        for content in ("{", '{"jsonrpc": "2.0"}'):
            answer = httpx.post(
                server.url, content=content, headers={**ACCEPT, "Content-Type": "application/json"}, trust_env=False
            )
            assert answer.status_code >= 400
            assert "mcp-session-id" not in answer.headers
        assert "mcp-session-id" not in httpx.get(server.url, headers=ACCEPT, trust_env=False).headers


def test_a_preflight_of_an_allowed_origin_needs_no_token_and_a_foreign_one_is_refused(tmp_path: Path) -> None:
    token = grant(tmp_path / "tokens.json", "alice")
    settings: dict[str, Any] = {
        "NANO_BANANA_TOKENS_FILE": str(tmp_path / "tokens.json"),
        "NANO_BANANA_ALLOWED_HOSTS": "images.example.org",
    }
    with served("--sandbox", **settings) as server, httpx.Client(trust_env=False, headers=ACCEPT) as client:
        for origin in (ORIGIN, "http://localhost:6274"):
            answer = client.options(server.url, headers={"Origin": origin, **PREFLIGHT})
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == origin
        foreign = client.options(server.url, headers={"Origin": "https://evil.example", **PREFLIGHT})
        assert foreign.status_code == 403
        assert "access-control-allow-origin" not in foreign.headers
        assert client.options(server.url).status_code == 401
        answer = client.post(server.url, json=INITIALIZE, headers={"Origin": ORIGIN, **bearer(token)})
        assert answer.status_code == 200
        assert "mcp-session-id" in answer.headers["access-control-expose-headers"].lower()
        unauthenticated = client.post(server.url, json=INITIALIZE, headers={"Origin": ORIGIN})
        assert unauthenticated.status_code == 401
        assert unauthenticated.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize(
    ("key", "problem"), [(None, "No API key"), ("dk-your-key", "placeholder"), ("dk-a key", "characters")]
)
async def test_without_a_usable_key_the_server_is_not_ready_and_says_why(
    key: str | None, problem: str, tmp_path: Path
) -> None:
    key_setting: dict[str, Any] = {} if key is None else {"DEFAPI_API_KEY": key}
    async with served(NANO_BANANA_STATE_DIR=tmp_path, **key_setting) as server:
        answer = httpx.get(f"{server.root}/readyz", trust_env=False)
        assert answer.status_code == 503
        assert problem in answer.json()["problem"]
        assert httpx.get(f"{server.root}/healthz", trust_env=False).status_code == 200


async def test_with_keys_of_callers_the_server_is_ready_without_one_of_its_own(tmp_path: Path) -> None:
    grant(tmp_path / "tokens.json", "alice", api_key="dk-hers")
    app = create_app(load_settings(tokens_file=tmp_path / "tokens.json"))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        assert (await client.get("/readyz")).json() == {"status": "ready"}
