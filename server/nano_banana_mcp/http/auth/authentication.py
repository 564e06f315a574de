"""Where the server may listen, and who is asking: the SDK's middleware before ``/mcp``, on verifiers as set.

Inside a request, ``get_access_token().client_id`` is the principal's name: plain for one of the tokens file,
``oauth:…`` for a person that the issuer vouches for. Without authentication there is no access token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend, RequireAuthMiddleware
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from mcp.server.auth.settings import AuthSettings
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from pydantic import AnyHttpUrl, SecretStr
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from nano_banana_mcp.common.urls import LOOPBACK_HOSTS, http_url
from nano_banana_mcp.http.auth.token_file import StaticTokens
from nano_banana_mcp.http.auth.users_file import OwnLimits
from nano_banana_mcp.settings import Settings, SettingsError, variable_of

MAX_TOKEN_BYTES = 8 * 1024


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
        if len(token) > MAX_TOKEN_BYTES:
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
    from nano_banana_mcp.http.auth.jwks import Issuer, Keys
    from nano_banana_mcp.http.auth.oauth import OAuthTokens

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


Endpoint = Callable[[Request], Awaitable[Response]]


class BindRefused(ValueError):
    """The server will not listen there."""


def check_bind(settings: Settings) -> list[str]:
    """What whoever starts the server should know of the address.

    Raises:
        BindRefused: the address is open to others, and nobody would be asked who they are.
    """
    if _is_loopback(settings.host):
        return []
    warnings = []
    if not is_authenticated(settings):
        if not settings.allow_unauthenticated:
            raise BindRefused(
                f"it will not listen on {settings.host}: everyone who reaches it could spend your credits. Have it "
                f"ask who calls ({variable_of('tokens_file')} or {variable_of('oauth_issuer')}), or say that it "
                "need not: --allow-unauthenticated."
            )
        warnings.append(f"anyone who reaches {settings.host} can spend your credits: nobody is asked who they are.")
    if _is_unspecified(settings.host) and not (settings.public_url or settings.allowed_host_names):
        warnings.append(
            "only requests that name this machine as localhost are answered: put the names by which others reach it "
            f"into {variable_of('allowed_hosts')} or {variable_of('public_url')}."
        )
    return warnings


def allowed_names(settings: Settings) -> TransportSecuritySettings:
    """The Host and Origin headers that are answered: without this, any web page could talk to the server.

    It holds on every bind and under any ASGI server; the SDK's own default guards loopback binds alone.
    """
    local = [_in_url(name) for name in sorted(LOOPBACK_HOSTS)]
    if not _is_unspecified(settings.host) and _in_url(settings.host) not in local:
        local.append(_in_url(settings.host))
    public = urlsplit(settings.public_url or "")
    outside = [public.netloc] if public.netloc else []
    return TransportSecuritySettings(
        allowed_hosts=[*local, *(f"{name}:*" for name in local), *settings.allowed_host_names, *outside],
        allowed_origins=[
            *(f"http://{name}{port}" for name in local for port in ("", ":*")),
            *(f"https://{name}" for name in settings.allowed_host_names),
            *(f"{public.scheme}://{name}" for name in outside),
        ],
    )


class NamedHosts(TransportSecurityMiddleware):
    """Guards what is for those who run the server. An address instead of a name is answered, too: no name of a web
    page's can be made to lead there, and monitoring asks by address."""

    def supervise(self, endpoint: Endpoint) -> Endpoint:
        """``endpoint``, for allowed Host and Origin headers."""

        async def checked(request: Request) -> Response:
            return await self.validate_request(request) or await endpoint(request)

        return checked

    def _validate_host(self, host: str | None) -> bool:
        return _is_literal(host or "") or super()._validate_host(host)


def _is_literal(host: str) -> bool:
    try:
        return _address(urlsplit(f"//{host}").hostname or "") is not None
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host in LOOPBACK_HOSTS or (address is not None and address.is_loopback)


def _is_unspecified(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_unspecified


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
