"""Access tokens: which are accepted, which are refused, over a real server process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import jwt
import pytest
from anyio.to_thread import run_sync as in_thread
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, Key, OKPKey

from nano_banana_mcp.http.auth.jwks import IssuerKeys
from nano_banana_mcp.http.auth.oauth import OAuthTokens
from tests.support.authorization_server import (
    new_key,
    serve_authorization,
)
from tests.support.http_server import ServedProcess, served_process
from tests.support.oauth_team import team
from tests.support.team import ACCEPT, CALL, REFUSED, grant, post
from tests.support.wrong_tokens import by_secret, by_weak_key, part, wrong_tokens

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.sampled_from(["RS256", "none", "HS256", "JWT"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
ANY_PARTS = st.lists(st.binary(), max_size=4).map(lambda parts: ".".join(map(part, parts)))
ANY_HEADER = st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64", "zip"]), ANY_JSON).map(
    lambda header: f"{part(header)}.{part({})}.{part(b'x')}"
)


async def test_any_invalid_token_gets_the_same_refusal_and_is_not_sent_on(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """With static tokens beside OAuth, so that neither lets in what the other refuses."""
    grant(tmp_path / "tokens.json", "alice")
    values = {"NANO_BANANA_TOKENS_FILE": str(tmp_path / "tokens.json"), "NANO_BANANA_LOG_LEVEL": "DEBUG"}
    async with team(serve=served_process, **values) as group, serve_authorization() as other:
        tokens = wrong_tokens(group.issuer, group.audience, other)
        record_property("cases", len(tokens))

        def answers() -> dict[str, httpx.Response]:
            answers = {}
            with httpx.Client(trust_env=False, headers=ACCEPT) as http:
                for name, token in tokens.items():
                    headers = {b"Authorization": b"Bearer " + token.encode("latin-1")}
                    answers[name] = http.post(group.url, json=CALL, headers=headers)
            return answers

        refused = await in_thread(answers)
        assert {name: answer.status_code for name, answer in refused.items()} == dict.fromkeys(tokens, 401)
        assert [name for name, answer in refused.items() if answer.json() != REFUSED] == []
        assert len({answer.headers["www-authenticate"] for answer in refused.values()}) == 1
        assert await group.status(group.token()) == 200
        assert isinstance(group.server, ServedProcess)
        group.server.process.terminate()
        _, written = await in_thread(group.server.process.communicate)
    assert group.egress.requests == []
    for token in tokens.values():
        assert len(token) < 20 or token.encode("latin-1") not in written
    assert b"Traceback" not in written


async def test_a_token_without_a_required_scope_is_refused_with_the_scopes() -> None:
    async with team(NANO_BANANA_OAUTH_SCOPES="pictures, profile") as group:
        for changed in (
            {"scope": "pictures"},
            {"scope": None},
            {"scope": "picturesprofile"},
            {"scp": ["pictures"], "scope": None},
        ):
            answer = await in_thread(post, group.url, group.token(**changed), CALL)
            assert answer.status_code == 403, changed
            assert answer.json()["error"] == "insufficient_scope"
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
        for granted in (
            {"scope": "profile pictures more"},
            {"scp": ["pictures", "profile"], "scope": None},
            {"scp": "pictures profile", "scope": None},
        ):
            assert await group.status(group.token(**granted)) == 200, granted
        assert group.egress.requests == []


@settings(deadline=None)
@given(st.text() | ANY_PARTS | ANY_HEADER)
def test_any_text_that_is_no_valid_token_is_refused(token: str) -> None:
    class NoKeys(IssuerKeys):
        async def signing_key(self, key_id: str, algorithm: str) -> None:
            raise jwt.PyJWKClientError("none in this test")

    async def ask() -> object:
        issuer = "https://login.example.org"
        return await OAuthTokens(issuer, "https://x.example.org/mcp", NoKeys(issuer)).verify_token(token)

    assert asyncio.run(ask()) is None


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # for a name that is not in use yet
async def test_every_allowed_algorithm_and_form_of_a_good_token_is_accepted() -> None:
    async with team() as group:
        keys: dict[str, Key] = {
            "ES256": ECKey.generate_key("P-256", {"kid": "e2"}),
            "ES384": ECKey.generate_key("P-384", {"kid": "e3"}),
            "ES512": ECKey.generate_key("P-521", {"kid": "e5"}),
            "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
        }
        rsa = group.issuer.keys[-1]
        group.issuer.keys = [*keys.values(), rsa]
        keys |= dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), rsa)
        claims = group.issuer.claims(group.audience)
        for algorithm, key in keys.items():
            assert await group.status(group.issuer.sign(claims, key=key, alg=algorithm)) == 200, algorithm
        now = int(time.time())
        for changed in (
            {"aud": [group.audience, "https://other.example.org"]},
            {"nbf": now + 30, "iat": now + 30},
            {"sub": None, "client_id": "a-program"},
            {"sub": "é" * 20},
        ):
            assert await group.status(group.token(**changed)) == 200, changed
        for header in ("JWT", "AT+JWT", "application/at+jwt", None):
            assert await group.status(group.issuer.sign(claims, typ=header)) == 200, header


async def test_a_key_too_weak_or_of_another_curve_signs_nothing() -> None:
    async with team() as group:
        other = ECKey.generate_key("P-384", {"kid": "other"})
        locked = new_key()
        claims = group.issuer.claims(group.audience)
        weak, weakly_signed = by_weak_key(claims)
        entries = [weak, other.as_dict(private=False)]
        entries.append({**locked.as_dict(private=False), "use": "enc"})
        entries.append({"kty": "oct", "kid": "secret", "k": part(b"x" * 32)})
        group.issuer.published = entries
        assert await group.status(weakly_signed) == 401
        assert await group.status(group.issuer.sign(claims, key=other, alg="ES384", kid="other")) == 200
        assert await group.status(group.issuer.sign(claims, key=locked)) == 401
        assert await group.status(by_secret(claims, b"x" * 32, "secret")) == 401
