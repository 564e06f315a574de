"""OAuth: a real authorization server, a real server process, the SDK's client with its own OAuth flows."""

from __future__ import annotations

import time
from typing import Any

import httpx
import httpx2
import pytest
from anyio.to_thread import run_sync as in_thread
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from nano_banana_mcp.http.app import build_application
from nano_banana_mcp.settings import SettingsError, load_settings
from tests.support.authorization_server import (
    PROGRAM,
    PUBLIC_CLIENT,
    REDIRECT_URI,
    SECRET,
    serve_authorization,
)
from tests.support.clients import KEY, facts
from tests.support.handshake import INITIALIZE, INITIALIZED
from tests.support.oauth_team import team
from tests.support.team import client_with, post


async def test_a_new_key_of_the_issuer_counts_at_once_and_garbage_does_not_hammer_it() -> None:
    async with team() as group:
        assert await group.status(group.token()) == 200
        old = group.token()
        group.issuer.rotate()
        assert await group.status(group.token()) == 200
        assert group.issuer.requests["keys"] == 2
        assert await group.status(old) == 401

        def garbage() -> set[int]:
            claims = group.issuer.claims(group.audience)
            return {
                post(group.url, group.issuer.sign(claims, kid=f"garbage-{number}"), INITIALIZE).status_code
                for number in range(60)
            }

        began = time.monotonic()
        assert await in_thread(garbage) == {401}
        assert group.issuer.requests["keys"] <= 5 + 1 + (time.monotonic() - began) // 10
        assert await group.status(group.token()) == 200


async def test_while_the_issuer_is_down_its_last_keys_serve() -> None:
    async with team() as group:
        group.issuer.down = True
        assert await group.status(group.token()) == 401
        group.issuer.down = False
        assert await group.status(group.token()) == 200
        group.issuer.down = True
        assert await group.status(group.issuer.sign(group.issuer.claims(group.audience), kid="unknown")) == 401
        assert await group.status(group.token()) == 200


async def test_a_session_of_one_person_is_not_there_for_another() -> None:
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    async with team() as group:

        def in_session() -> list[int]:
            ann, ben = group.token(), group.token(sub="ben")
            renewed = group.token(exp=int(time.time()) + 900)
            session = {"Mcp-Session-Id": post(group.url, ann, INITIALIZE).headers["mcp-session-id"]}
            post(group.url, ann, INITIALIZED, **session)
            return [post(group.url, token, listing, **session).status_code for token in (ann, renewed, ben)]

        assert await in_thread(in_session) == [200, 200, 404]


class Storage:
    """Where the SDK's client keeps what it has; it is registered beforehand."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = OAuthClientInformationFull(
            client_id=PUBLIC_CLIENT, redirect_uris=[AnyUrl(REDIRECT_URI)], token_endpoint_auth_method="none"
        )

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("path", ["", "/tenant"])
async def test_the_sdks_client_gets_from_a_401_to_an_image(mode: Any, path: str) -> None:
    """401, the resource's metadata, the issuer's metadata, the code with PKCE, the token, the picture."""
    landed: list[str] = []

    async def go(url: str) -> None:
        async with httpx2.AsyncClient(trust_env=False) as browser:
            landed.append((await browser.get(url)).headers["location"])

    async def come_back() -> AuthorizationCodeResult:
        answer = httpx.URL(landed[-1]).params
        return AuthorizationCodeResult(code=answer["code"], state=answer["state"])

    async with team(path) as group:
        storage = Storage()
        metadata = OAuthClientMetadata(redirect_uris=[AnyUrl(REDIRECT_URI)], token_endpoint_auth_method="none")
        auth = OAuthClientProvider(group.url, metadata, storage, go, come_back)
        async with client_with(group.url, mode, auth=auth) as client:
            made = await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
        assert facts(made)["status"] == "success"
        assert len(landed) == 1
        assert storage.tokens is not None
        assert group.issuer.requests["authorize"] == 1
        assert set(group.egress.keys()) == {KEY}
        assert not [sent for sent in group.egress.requests if storage.tokens.access_token.encode() in sent]


async def test_a_program_authenticates_with_its_own_credentials() -> None:
    async with team() as group:
        storage = Storage()
        storage.client = None
        auth = ClientCredentialsOAuthProvider(
            group.url, storage, PROGRAM, SECRET, scope="pictures", issuer=group.issuer.url
        )
        async with client_with(group.url, auth=auth) as client:
            assert (await client.list_tools()).tools
        assert group.issuer.requests["token"] == 1


async def test_the_metadata_is_open_and_says_where_to_get_a_token() -> None:
    async with team() as group:
        refusal = await in_thread(post, group.url, None, INITIALIZE)
        where = refusal.headers["www-authenticate"].partition('resource_metadata="')[2].rstrip('"')
        assert where == f"{group.server.root}/.well-known/oauth-protected-resource/mcp"
        metadata = (await in_thread(httpx.get, where)).json()
        assert metadata["resource"] == group.url
        assert metadata["authorization_servers"] == [group.issuer.url]
        assert metadata["scopes_supported"] == ["pictures"]
        assert metadata["bearer_methods_supported"] == ["header"]


async def test_behind_a_public_url_the_audience_and_the_metadata_are_under_it() -> None:
    public = "https://pictures.example.org/nb"
    async with team(NANO_BANANA_OAUTH_AUDIENCE="", NANO_BANANA_PUBLIC_URL=public) as group:
        assert await group.status(group.token()) == 401
        assert await group.status(group.token(aud=f"{public}/mcp")) == 200
        refusal = await in_thread(post, group.url, None, INITIALIZE)
        where = "https://pictures.example.org/.well-known/oauth-protected-resource/nb/mcp"
        assert f'resource_metadata="{where}"' in refusal.headers["www-authenticate"]
        metadata = (await in_thread(httpx.get, f"{group.server.root}{httpx.URL(where).path}")).json()
        assert metadata["resource"] == f"{public}/mcp"


async def test_the_address_of_the_keys_can_be_given() -> None:
    async with serve_authorization() as key_server, team(NANO_BANANA_OAUTH_JWKS_URL=f"{key_server.url}/keys") as group:
        group.issuer.keys = key_server.keys
        assert await group.status(group.token()) == 200
        assert group.issuer.requests == {}
        assert key_server.requests == {"keys": 1}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"NANO_BANANA_OAUTH_ISSUER": "http://login.example.org"}, "must be an https URL"),
        ({"NANO_BANANA_OAUTH_ISSUER": "login"}, "must be an https URL"),
        ({"NANO_BANANA_OAUTH_JWKS_URL": "http://login.example.org/keys"}, "must be an https URL"),
        ({"NANO_BANANA_OAUTH_SCOPES": 'a"b'}, "names of scopes"),
        ({"NANO_BANANA_OAUTH_ISSUER": "https://login.example.org"}, "NANO_BANANA_PUBLIC_URL"),
        (
            {"NANO_BANANA_OAUTH_ISSUER": "https://login.example.org", "NANO_BANANA_OAUTH_AUDIENCE": "api://x"},
            "NANO_BANANA_PUBLIC_URL",
        ),
        ({"NANO_BANANA_OAUTH_AUDIENCE": "https://x.example.org/mcp"}, "NANO_BANANA_OAUTH_ISSUER"),
        ({"NANO_BANANA_OAUTH_SCOPES": "pictures"}, "NANO_BANANA_OAUTH_ISSUER"),
    ],
)
def test_oauth_settings_that_cannot_work_are_named_in_one_line(
    settings: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        build_application(load_settings(sandbox=True))
    assert str(refused.value).startswith("NANO_BANANA_OAUTH_")
    assert len(str(refused.value).splitlines()) == 1
    assert said in str(refused.value)
