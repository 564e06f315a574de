"""Invalid access tokens: with claims that the issuer never signs, or with signatures of others."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import ECKey, Key, RSAKey

from nano_banana_mcp.http.auth.users_file import new_token
from tests.support.authorization_server import AuthorizationServer, new_key
from tests.support.clients import KEY


def part(value: Any) -> str:
    """A part of a token, as anybody can write it."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def by_secret(claims: dict[str, Any], secret: bytes, key_id: str | None) -> str:
    """Signed with HS256, by hand: no library wants to do this with a public key."""
    signed = f"{part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': key_id})}.{part(claims)}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), 'sha256'))}"


def by_weak_key(claims: dict[str, Any]) -> tuple[dict[str, str], str]:
    """A key of 1024 bits as an issuer would publish it, and a token signed with it; by hand for the same reason."""
    key = rsa.generate_private_key(65537, 1024)
    numbers = key.public_key().public_numbers()
    published = {"kty": "RSA", "kid": "weak", "n": part(numbers.n.to_bytes(128)), "e": part(numbers.e.to_bytes(3))}
    signed = f"{part({'alg': 'RS256', 'typ': 'at+jwt', 'kid': 'weak'})}.{part(claims)}"
    return published, f"{signed}.{part(key.sign(signed.encode(), PKCS1v15(), SHA256()))}"


def public_pem(key: Key) -> bytes:
    """A public key as a careless verifier would take it for a shared secret."""
    assert isinstance(key, RSAKey)
    return key.as_pem(private=False)


def wrong_tokens(issuer: AuthorizationServer, audience: str, other: AuthorizationServer) -> dict[str, str]:
    """Every way in which a token can be wrong, by name."""
    now = int(time.time())
    key = issuer.keys[-1]
    good = issuer.claims(audience)
    token = issuer.sign(good)
    head, body, signature = token.split(".")
    header = {"typ": "at+jwt", "kid": key.kid}
    sign, claims = issuer.sign, issuer.claims
    own = new_key().as_dict(private=False)
    return {
        "expired": sign(claims(audience, exp=now - 1)),
        "expired long ago": sign(claims(audience, exp=0)),
        "not yet valid": sign(claims(audience, nbf=now + 120)),
        "issued in the future": sign(claims(audience, iat=now + 120)),
        "another audience": sign(claims("https://other.example.org/mcp")),
        "a part of the audience": sign(claims(audience.removesuffix("/mcp"))),
        "audiences without ours": sign(claims(["https://a.example.org", "https://b.example.org"])),
        "no audience": sign(claims(None)),
        "an empty list of audiences": sign(claims([])),
        "an audience of another type": sign(claims({audience: 1})),
        "another issuer": sign(claims(audience, iss="https://other.example.org")),
        "an issuer with a slash more": sign(claims(audience, iss=f"{issuer.url}/")),
        "an issuer that begins like ours": sign(claims(audience, iss=f"{issuer.url}.evil.example")),
        "no issuer": sign(claims(audience, iss=None) | {"iss": ""}),
        "no expiry": sign(claims(audience, exp=None)),
        "an expiry that is none": sign(claims(audience) | {"exp": "tomorrow"}),
        "an infinite expiry": sign(good | {"exp": float("inf")}),
        "bound to a key of the sender": sign(claims(audience, cnf={"jkt": "x" * 43})),
        "no subject": sign(claims(audience, sub=None)),
        "an empty subject": sign(claims(audience, sub="")),
        "a subject of another type": sign(claims(audience) | {"sub": 7}),
        "a subject with a line break": sign(claims(audience, sub="ann\nroot")),
        "a subject without end": sign(claims(audience, sub="a" * 256)),
        "another key under a known id": sign(good, key=new_key(), kid=key.kid),
        "an unknown key id": sign(good, kid="unknown"),
        "no key id": sign(good, kid=None),
        "another family of algorithms": sign(
            good, key=ECKey.generate_key("P-256", {"kid": "x"}), alg="ES256", kid=key.kid
        ),
        "HS256 with the public key as PEM": by_secret(good, public_pem(key), key.kid),
        "HS256 with the public key as JWK": by_secret(good, json.dumps(key.as_dict(private=False)).encode(), key.kid),
        "none": f"{part({'alg': 'none', **header})}.{body}.",
        "None": f"{part({'alg': 'None', **header})}.{body}.{signature}",
        "no algorithm": f"{part(header)}.{body}.{signature}",
        "an algorithm of another type": f"{part({'alg': ['RS256'], **header})}.{body}.{signature}",
        "unsigned": f"{head}.{body}.",
        "without its last part": f"{head}.{body}",
        "truncated": token[:-10],
        "one claim changed": f"{head}.{part({**good, 'sub': 'root'})}.{signature}",
        "an ID token": sign(good, typ="id+jwt"),
        "a logout token": sign(good, typ="logout+jwt"),
        "a proof": sign(good, typ="dpop+jwt"),
        "a key of its own": f"{part({'alg': 'RS256', 'jwk': own, **header})}.{body}.{signature}",
        "a critical extension": f"{part({'alg': 'RS256', 'crit': ['x'], 'x': 1, **header})}.{body}.{signature}",
        "a deep header": f"{part(b'[' * 5000)}.{body}.{signature}",
        "a header that is none": f"{part([1])}.{body}.{signature}",
        "a body that is none": f"{head}.{part([1])}.{signature}",
        "scopes of another type": sign(claims(audience) | {"scope": 7}),
        "garbage": "garbage",
        "dots": "..",
        "bytes": "\x7f\xff.\xfe.\xfd",
        "oversized": sign(claims(audience, padding="x" * 9000)),
        "a token of another server": other.sign(other.claims(audience)),
        "another server under our name": other.sign(other.claims(audience, iss=issuer.url)),
        "a static token of nobody": new_token(),
        "the key of the image API": KEY,
    }
