"""A real OAuth 2.1 authorization server: authlib's grants and RFC 9068 tokens, over a real socket.

It knows one person (who is always logged in and consents) and two clients: a public one of hers, with PKCE, and a
program with a secret. `sign` makes whatever token a test wants with its keys.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from authlib.oauth2 import AuthorizationServer as Authlib
from authlib.oauth2.rfc6749 import ClientMixin, OAuth2Request
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, ClientCredentialsGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from joserfc import jwt
from joserfc.jwk import Key, KeySet, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.serving import listening, serving

REDIRECT_URI = "http://127.0.0.1:9/callback"
PUBLIC_CLIENT = "her-editor"
PROGRAM, SECRET = "a-program", "its-secret"
SCOPES = ("pictures", "profile")


class Client(ClientMixin):  # type: ignore[misc]  # authlib has no types
    def __init__(self, client_id: str, secret: str | None, grant: str) -> None:
        self.client_id, self.secret, self.grant = client_id, secret, grant

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        return REDIRECT_URI

    def get_allowed_scope(self, scope: str | None) -> str:
        return " ".join(name for name in (scope or "").split() if name in SCOPES)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == REDIRECT_URI

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == self.secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return (method == "none") is (self.secret is None)

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == self.grant


@dataclass
class Person:
    id: str

    def get_user_id(self) -> str:
        return self.id


@dataclass
class Code:
    """A code that was handed out, as authlib's grant and its PKCE extension want it."""

    code: str
    client_id: str
    redirect_uri: str
    scope: str
    code_challenge: str
    code_challenge_method: str
    user: Person

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope


class _RecordedRequest(OAuth2Request):  # type: ignore[misc]  # authlib has no types
    def __init__(self, request: Request, values: dict[str, str]) -> None:
        super().__init__(request.method, str(request.url), headers=request.headers)
        self.payload = BasicOAuth2Payload(values)

    @property
    def args(self) -> Any:
        return self.payload.data

    @property
    def form(self) -> Any:
        return self.payload.data


class _Codes(AuthorizationCodeGrant):  # type: ignore[misc]  # authlib has no types
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)

    def save_authorization_code(self, code: str, request: Any) -> None:
        authorization = request.payload
        self.server.codes[code] = Code(
            code,
            request.client.client_id,
            authorization.redirect_uri,
            request.client.get_allowed_scope(authorization.scope),
            authorization.data["code_challenge"],
            authorization.data["code_challenge_method"],
            request.user,
        )

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        grant: Code | None = self.server.codes.get(code)
        return grant if grant and grant.client_id == client.client_id else None

    def delete_authorization_code(self, authorization_code: Code) -> None:
        del self.server.codes[authorization_code.code]

    def authenticate_user(self, authorization_code: Code) -> Person:
        return authorization_code.user


class _Tokens(JWTBearerTokenGenerator):  # type: ignore[misc]  # authlib has no types
    def __init__(self, issuer: AuthorizationServer) -> None:
        super().__init__(issuer.url)
        self._server = issuer

    def get_jwks(self) -> Any:
        return KeySet(list(self._server.keys[-1:]))

    def get_audiences(self, client: Client, user: Person | None, scope: str) -> str:
        return self._server.resource or client.client_id


class _Grants(Authlib):  # type: ignore[misc]  # authlib has no types
    def __init__(self, issuer: AuthorizationServer) -> None:
        super().__init__(scopes_supported=SCOPES)
        self.codes: dict[str, Code] = {}
        self._clients = {
            PUBLIC_CLIENT: Client(PUBLIC_CLIENT, None, "authorization_code"),
            PROGRAM: Client(PROGRAM, SECRET, "client_credentials"),
        }
        self.register_grant(_Codes, [CodeChallenge(required=True)])
        self.register_grant(ClientCredentialsGrant)
        self.register_token_generator("default", _Tokens(issuer))

    def query_client(self, client_id: str) -> Client | None:
        return self._clients.get(client_id)

    def save_token(self, token: dict[str, Any], request: Any) -> None:
        """Its tokens are signed; there is nothing to keep."""

    def create_oauth2_request(self, request: tuple[Request, dict[str, str]]) -> OAuth2Request:
        return _RecordedRequest(*request)

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Response:
        return Response(json.dumps(body) if isinstance(body, dict) else body, status, dict(headers))

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """The port is closed."""


@dataclass
class AuthorizationServer:
    """One issuer. The last of its `keys` signs; all of them are published."""

    url: str
    keys: list[Key] = field(default_factory=lambda: [new_key()])
    user: Person = field(default_factory=lambda: Person("ann"))
    requests: Counter[str] = field(default_factory=Counter)
    down: bool = False
    wrong_issuer: bool = False
    published: list[Any] | None = None  # in place of its keys
    headers: dict[str, str] = field(default_factory=dict)
    resource: str | None = None

    def rotate(self, *, keep: bool = False) -> Key:
        """Sign with a new key from now on."""
        self.keys = [*(self.keys if keep else []), new_key()]
        return self.keys[-1]

    def claims(self, audience: Any, **changed: Any) -> dict[str, Any]:
        """The claims of a good token; a value of None takes one away."""
        now = int(time.time())
        good = {"iss": self.url, "aud": audience, "sub": "ann", "iat": now, "exp": now + 300, "scope": "pictures"}
        return {name: value for name, value in {**good, **changed}.items() if value is not None}

    def sign(self, claims: dict[str, Any], *, key: Key | None = None, alg: str = "RS256", **header: Any) -> str:
        """These claims, signed; a header's value of None takes it away."""
        key = key or self.keys[-1]
        fields = {"alg": alg, "typ": "at+jwt", "kid": key.kid, **header}
        present = {name: value for name, value in fields.items() if value is not None}
        return jwt.encode(present, claims, key, algorithms=[alg])

    async def on_metadata(self, request: Request) -> Response:
        self.requests["metadata"] += 1
        return self._answer(
            {
                "issuer": f"{self.url}/other" if self.wrong_issuer else self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "client_credentials"],
                "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
                "code_challenge_methods_supported": ["S256"],
                "scopes_supported": list(SCOPES),
            }
        )

    async def on_keys(self, request: Request) -> Response:
        self.requests["keys"] += 1
        published = [key.as_dict(private=False) for key in self.keys] if self.published is None else self.published
        return self._answer({"keys": published})

    def _answer(self, body: dict[str, Any]) -> Response:
        return Response(status_code=503) if self.down else JSONResponse(body, headers=self.headers)


def new_key() -> Key:
    return RSAKey.generate_key(2048, {"kid": uuid.uuid4().hex, "use": "sig"})


@asynccontextmanager
async def serve_authorization(path: str = "") -> AsyncIterator[AuthorizationServer]:
    """Serve one while the block runs; its issuer has this path."""
    with listening() as (listener, root):
        issuer = AuthorizationServer(root + path)
        grants = _Grants(issuer)

        async def on_authorize(request: Request) -> Response:
            issuer.requests["authorize"] += 1
            authorization = (request, dict(request.query_params))
            consent = grants.get_consent_grant(authorization, issuer.user)
            response: Response = grants.create_authorization_response(
                grants.create_oauth2_request(authorization), issuer.user, consent
            )
            return response

        async def on_token(request: Request) -> Response:
            issuer.requests["token"] += 1
            values = {name: str(value) for name, value in (await request.form()).items()}
            issuer.resource = values.get("resource")
            response: Response = grants.create_token_response((request, values))
            return response

        routes = [
            Route(f"/.well-known/oauth-authorization-server{path}", issuer.on_metadata),
            Route(f"{path}/keys", issuer.on_keys),
            Route(f"{path}/authorize", on_authorize),
            Route(f"{path}/token", on_token, methods=["POST"]),
        ]
        async with serving(Starlette(routes=routes), listener):
            yield issuer
