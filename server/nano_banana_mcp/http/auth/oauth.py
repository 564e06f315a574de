"""OAuth 2.1 resource server: who is asking, by an access token that the issuer has signed (RFC 9068)."""

from __future__ import annotations

import logging
import time
from typing import Any

import jwt
from mcp.server.auth.provider import AccessToken

from nano_banana_mcp.http.auth.jwks import ALGORITHMS, Keys
from nano_banana_mcp.http.auth.token_file import NOT_KEPT
from nano_banana_mcp.http.auth.users_file import is_subject

logger = logging.getLogger(__name__)

LEEWAY_SECONDS = 60
"""For clocks that differ, where a token begins; it ends when it says."""

_TYPES = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})  # not those of ID tokens, logout tokens, proofs


class OAuthTokens:
    """The SDK's ``TokenVerifier`` on the issuer's keys.

    Args:
        issuer: As its tokens name it, letter for letter.
        audience: What a token must be meant for.
    """

    def __init__(self, issuer: str, audience: str, keys: Keys) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = keys

    async def verify_token(self, token: str) -> AccessToken | None:
        """Whom the token stands for; None where anything about it is wrong."""
        try:
            return await self._verified(token)
        # All that the reading of a stranger's text can end in. Never its words: they may hold the token's.
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            logger.info("an OAuth token was refused (%s)", type(error).__name__)
            return None

    async def _verified(self, token: str) -> AccessToken:
        header = jwt.get_unverified_header(token)
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS or str(header.get("typ", "")).lower() not in _TYPES:
            raise jwt.InvalidTokenError
        key = await self._keys.find(key_id, algorithm) if isinstance(key_id, str) else None
        if key is None:
            raise jwt.InvalidTokenError
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
        )
        ends = int(claims["exp"])
        if ends <= time.time():
            raise jwt.ExpiredSignatureError
        return AccessToken(
            token=NOT_KEPT,
            client_id=_principal(claims),
            scopes=_scopes(claims),
            expires_at=ends,
            resource=self._audience,
            subject=claims.get("sub"),
            claims={"iss": self._issuer},
        )


def _principal(claims: dict[str, Any]) -> str:
    """A person by ``sub``; a program that acts for itself by ``client_id``, which no person can be named as."""
    if "sub" in claims:
        prefix, name = "oauth", claims["sub"]
    else:
        prefix, name = "oauth-client", claims.get("client_id")
    if not is_subject(name):
        raise jwt.InvalidTokenError
    return f"{prefix}:{name}"


def _scopes(claims: dict[str, Any]) -> list[str]:
    granted = claims.get("scope", claims.get("scp", ""))
    names = granted.split() if isinstance(granted, str) else granted
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise jwt.InvalidTokenError
    return names
