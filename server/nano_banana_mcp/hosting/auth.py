"""Who is asking: the SDK's middleware before ``/mcp``, on the verifiers that the settings ask for.

Inside a request, ``get_access_token().client_id`` is the principal's name: plain for one of the tokens file,
``oauth:…`` for a person that the issuer vouches for. Without authentication there is no access token.
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

from nano_banana_mcp.hosting.principals import OwnLimits
from nano_banana_mcp.hosting.tokens import StaticTokens
from nano_banana_mcp.settings import Settings, SettingsError, variable_of
from nano_banana_mcp.urls import http_url

LONGEST_TOKEN_BYTES = 8 * 1024


class Authentication:
    """What the settings say about who may call.

    Args:
        static: The tokens of the file, if there is one.
        verifiers: Asked in this order.
        scopes: What a token must allow.
        oauth: The issuer and the URL of this resource, where OAuth is on.
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
        self.verifier: TokenVerifier = _FirstThatKnows(verifiers)
        self.routes: list[Route] = []
        if oauth is not None:
            assert oauth.resource_server_url is not None
            self._metadata_url = build_resource_metadata_url(oauth.resource_server_url)
            self.routes = create_protected_resource_routes(
                oauth.resource_server_url, [oauth.issuer_url], self._scopes or None, "Nano Banana"
            )

    def protect(self, app: ASGIApp) -> ASGIApp:
        """``app`` for those only who are known."""
        required = RequireAuthMiddleware(app, self._scopes, self._metadata_url)
        # The verifiers compare the audience themselves: it need not be this resource's URL.
        return AuthenticationMiddleware(AuthContextMiddleware(required), backend=BearerAuthBackend(self.verifier))

    def api_key_for(self, principal: str) -> SecretStr | None:
        """The principal's own key for the image API; None where the server's serves."""
        return None if self._static is None else self._static.api_key(principal)

    def limits_for(self, principal: str) -> OwnLimits:
        """What the tokens file says about the principal's limits."""
        return OwnLimits() if self._static is None else self._static.limits(principal)


class _FirstThatKnows:
    def __init__(self, verifiers: Sequence[TokenVerifier]) -> None:
        self._verifiers = list(verifiers)

    async def verify_token(self, token: str) -> AccessToken | None:
        if len(token) > LONGEST_TOKEN_BYTES:
            return None
        for verifier in self._verifiers:
            found = await verifier.verify_token(token)
            if found is not None:
                return found
        return None


def is_authenticated(settings: Settings) -> bool:
    """Whether calls over HTTP must say whose they are."""
    return settings.tokens_file is not None or settings.oauth_issuer is not None


def open_authentication(settings: Settings) -> Authentication | None:
    """What the settings ask for; None where they ask for nothing.

    Raises:
        SettingsError: OAuth is set up by halves.
        BadPrincipals: the tokens file cannot be used.
    """
    if not is_authenticated(settings):
        _refuse_half_an_oauth(settings)
        return None
    scopes = settings.oauth_scopes.split() if settings.oauth_issuer else []
    static = None if settings.tokens_file is None else StaticTokens(settings.tokens_file, scopes)
    verifiers: list[TokenVerifier] = [] if static is None else [static]
    if settings.oauth_issuer is None:
        _refuse_half_an_oauth(settings)
        return Authentication(static, verifiers, scopes, None)
    from nano_banana_mcp.hosting.issuer import Issuer, Keys
    from nano_banana_mcp.hosting.oauth import OAuthTokens

    resource, audience = _resource_and_audience(settings)
    keys = Keys(Issuer(settings.oauth_issuer, settings.oauth_jwks_url).keys)
    # From strings: as URLs they would get a last slash, and clients compare the issuer letter for letter.
    oauth = AuthSettings.model_validate(
        {
            "issuer_url": settings.oauth_issuer,
            "resource_server_url": resource,
            "validate_token_resource": False,
        }
    )
    return Authentication(static, [*verifiers, OAuthTokens(settings.oauth_issuer, audience, keys)], scopes, oauth)


def _resource_and_audience(settings: Settings) -> tuple[str, str]:
    """The URL of this resource, by which clients find their way to the issuer, and what tokens call it."""
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


def _refuse_half_an_oauth(settings: Settings) -> None:
    for field in ("oauth_audience", "oauth_jwks_url", "oauth_scopes"):
        if getattr(settings, field):
            raise SettingsError(f"{variable_of(field)} needs {variable_of('oauth_issuer')}")
