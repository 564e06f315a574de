"""Where the server may listen, and by which names it answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import Response

from nano_banana_mcp.hosting.auth import is_authenticated
from nano_banana_mcp.settings import Settings, variable_of
from nano_banana_mcp.urls import LOOPBACK_HOSTS

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

    def guarded(self, endpoint: Endpoint) -> Endpoint:
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
