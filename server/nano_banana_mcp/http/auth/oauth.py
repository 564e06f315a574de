"""Verify OAuth access tokens that the issuer signed (OAuth 2.1 resource server, RFC 9068)."""

from __future__ import annotations

import logging
import time
from typing import Any

import jwt
from mcp.server.auth.provider import AccessToken

from nano_banana_mcp.http.auth.jwks import ALGORITHMS, IssuerKeys
from nano_banana_mcp.http.auth.token_file import REDACTED
from nano_banana_mcp.http.auth.users_file import is_subject

logger = logging.getLogger(__name__)

LEEWAY_SECONDS = 60
"""Clock difference allowed at the start of a token; its end is exact."""

_TYPES = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})  # not of ID tokens, logout tokens or proofs


class OAuthTokens:
    """The SDK's ``TokenVerifier`` on the issuer's keys.

    Args:
        issuer: Its name, exactly as in its tokens.
        audience: Audience that a token must have.
        keys: The issuer's public keys.
    """

    def __init__(self, issuer: str, audience: str, keys: IssuerKeys) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = keys

    async def verify_token(self, token: str) -> AccessToken | None:
        """The principal of a token; None if anything in the token is invalid."""
        try:
            return await self._verified(token)
        # Parsing untrusted text can raise any of these. Their messages may quote the token, so only the type is logged.
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            logger.info("an OAuth token was refused (%s)", type(error).__name__)
            return None

    async def _verified(self, token: str) -> AccessToken:
        header = jwt.get_unverified_header(token)
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS or str(header.get("typ", "")).lower() not in _TYPES:
            raise jwt.InvalidTokenError
        key = await self._keys.signing_key(key_id, algorithm) if isinstance(key_id, str) else None
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
        expires_at = int(claims["exp"])
        if expires_at <= time.time():
            raise jwt.ExpiredSignatureError
        if "cnf" in claims:  # bound to a key of the sender (DPoP, mTLS), whose proof is not checked here
            raise jwt.InvalidTokenError
        return AccessToken(
            token=REDACTED,
            client_id=_principal(claims),
            scopes=_scopes(claims),
            expires_at=expires_at,
            resource=self._audience,
            subject=claims.get("sub"),
            claims={"iss": self._issuer},
        )


def _principal(claims: dict[str, Any]) -> str:
    """A person by ``sub``, a program by ``client_id``; the prefixes keep the two apart."""
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
