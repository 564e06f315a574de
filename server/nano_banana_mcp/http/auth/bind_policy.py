"""Refuse to listen where others could spend the operator's credits."""

from __future__ import annotations

from ipaddress import ip_address

from nano_banana_mcp.common.urls import is_loopback
from nano_banana_mcp.settings import Settings, variable_of


class BindRefused(ValueError):
    """The server will not listen there."""


def is_authenticated(settings: Settings) -> bool:
    """Whether calls over HTTP need a token."""
    return settings.tokens_file is not None or settings.oauth_issuer is not None


def check_bind(settings: Settings) -> list[str]:
    """Check the addresses to listen on. Returns warnings for the operator.

    Raises:
        BindRefused: an address can be reached from other machines, and callers would not be authenticated.
    """
    open_addresses = [address for address in settings.listen_addresses if not is_loopback(address)]
    if not open_addresses:
        return []
    shown = ", ".join(open_addresses)
    warnings = []
    if not is_authenticated(settings):
        if not settings.allow_unauthenticated:
            raise BindRefused(
                f"refusing to listen on {shown} without authentication: anyone who reaches it could spend your "
                f"credits. Set {variable_of('tokens_file')} or {variable_of('oauth_issuer')}, or allow it with "
                "--allow-unauthenticated."
            )
        warnings.append(f"anyone who reaches {shown} can spend your credits: callers are not authenticated.")
    if any(map(is_unspecified, open_addresses)) and not (settings.public_url or settings.allowed_host_names):
        warnings.append(
            "only requests to localhost are answered. Add the host names by which others reach this server to "
            f"{variable_of('allowed_hosts')} or {variable_of('public_url')}."
        )
    return warnings


def is_unspecified(host: str) -> bool:
    """Whether the address stands for all addresses of this machine."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
