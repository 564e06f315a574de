"""Authenticate callers of ``/mcp``: the SDK's middleware on the verifiers that the settings ask for.

Inside a request, ``get_access_token().client_id`` is the principal's name: plain for an entry of the tokens file,
``oauth:…`` for a subject of the OAuth issuer. Without authentication there is no access token.
"""

from __future__ import annotations

from collections.abc import Sequence

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend, RequireAuthMiddleware
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from mcp.server.auth.settings import AuthSettings
from pydantic import AnyHttpUrl, SecretStr
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from nano_banana_mcp.common.urls import http_url
from nano_banana_mcp.http.auth.bind_policy import is_authenticated
from nano_banana_mcp.http.auth.token_file import StaticTokens
from nano_banana_mcp.http.auth.users_file import OwnLimits
from nano_banana_mcp.settings import Settings, SettingsError, variable_of

MAX_TOKEN_BYTES = 8 * 1024


class Authentication:
    """Who may call, by the settings.

    Args:
        static: The tokens file, if there is one.
        verifiers: Tried in this order.
        scopes: Scopes that a token must have.
        oauth: The issuer and the URL of this resource; None without OAuth.
    """

    def __init__(
        self,
        static: StaticTokens | None,
        verifiers: Sequence[TokenVerifier],
        scopes: Sequence[str],
        oauth: AuthSettings | None,
    ) -> None:
        self._static = static
        self._scopes = list(scopes)
        self._metadata_url: AnyHttpUrl | None = None
        self.verifier: TokenVerifier = _FirstMatch(verifiers)
        self.routes: list[Route] = []
        if oauth is not None:
            assert oauth.resource_server_url is not None
            self._metadata_url = build_resource_metadata_url(oauth.resource_server_url)
            self.routes = create_protected_resource_routes(
                oauth.resource_server_url, [oauth.issuer_url], self._scopes or None, "Nano Banana"
            )

    def protect(self, app: ASGIApp) -> ASGIApp:
        """``app`` behind authentication."""
        required = RequireAuthMiddleware(app, self._scopes, self._metadata_url)
        # The verifiers compare the audience themselves: it need not be this resource's URL.
        return AuthenticationMiddleware(AuthContextMiddleware(required), backend=BearerAuthBackend(self.verifier))

    async def principal_of(self, token: str) -> str | None:
        """The principal of a token; None if the token is not valid."""
        access_token = await self.verifier.verify_token(token)
        return None if access_token is None else access_token.client_id

    def api_key_for(self, principal: str) -> SecretStr | None:
        """The principal's own key for the image API; None to use the server's."""
        return None if self._static is None else self._static.api_key(principal)

    @property
    def has_api_keys(self) -> bool:
        """Whether a principal has an API key of their own."""
        return self._static is not None and self._static.has_api_keys

    @property
    def has_confirm(self) -> bool:
        """Whether a principal has a threshold of their own above which a person confirms."""
        return self._static is not None and self._static.has_confirm

    def limits_for(self, principal: str) -> OwnLimits:
        """The principal's own limits in the tokens file."""
        return OwnLimits() if self._static is None else self._static.limits(principal)


class _FirstMatch:
    def __init__(self, verifiers: Sequence[TokenVerifier]) -> None:
        self._verifiers = list(verifiers)

    async def verify_token(self, token: str) -> AccessToken | None:
        if len(token) > MAX_TOKEN_BYTES:
            return None
        for verifier in self._verifiers:
            access_token = await verifier.verify_token(token)
            if access_token is not None:
                return access_token
        return None


def open_authentication(settings: Settings) -> Authentication | None:
    """The authentication that the settings ask for; None if they ask for none.

    Raises:
        SettingsError: the OAuth settings are incomplete.
        BadPrincipals: the tokens file cannot be used.
    """
    if not is_authenticated(settings):
        _refuse_incomplete_oauth(settings)
        return None
    scopes = settings.oauth_scopes.split() if settings.oauth_issuer else []
    static = None if settings.tokens_file is None else StaticTokens(settings.tokens_file, scopes)
    verifiers: list[TokenVerifier] = [] if static is None else [static]
    if settings.oauth_issuer is None:
        _refuse_incomplete_oauth(settings)
        return Authentication(static, verifiers, scopes, None)
    from nano_banana_mcp.http.auth.jwks import IssuerKeys  # needs cryptography, which stays unloaded without OAuth
    from nano_banana_mcp.http.auth.oauth import OAuthTokens

    resource, audience = _resource_and_audience(settings)
    keys = IssuerKeys(settings.oauth_issuer, settings.oauth_jwks_url)
    # From strings: parsed URLs would get a trailing slash, and clients compare the issuer as a string.
    oauth = AuthSettings.model_validate(
        {
            "issuer_url": settings.oauth_issuer,
            "resource_server_url": resource,
            "validate_token_resource": False,
        }
    )
    return Authentication(static, [*verifiers, OAuthTokens(settings.oauth_issuer, audience, keys)], scopes, oauth)


def _resource_and_audience(settings: Settings) -> tuple[str, str]:
    """The URL of this resource, from which clients discover the issuer, and the audience that tokens must have."""
    audience = settings.oauth_audience
    if settings.public_url is not None:
        resource = f"{settings.public_url}/mcp"
        return resource, audience or resource
    if audience is None or http_url(audience) is None:
        raise SettingsError(
            f"{variable_of('oauth_issuer')} needs {variable_of('public_url')}, or, in "
            f"{variable_of('oauth_audience')}, the URL of /mcp as clients reach it"
        )
    return audience, audience


def _refuse_incomplete_oauth(settings: Settings) -> None:
    for field in ("oauth_audience", "oauth_jwks_url", "oauth_scopes"):
        if getattr(settings, field):
            raise SettingsError(f"{variable_of(field)} needs {variable_of('oauth_issuer')}")
