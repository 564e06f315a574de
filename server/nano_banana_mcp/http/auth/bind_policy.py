"""Refuse to listen where others could spend the operator's credits."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from nano_banana_mcp.common.urls import LOOPBACK_HOSTS
from nano_banana_mcp.settings import Settings, variable_of


class BindRefused(ValueError):
    """The server will not listen there."""


def is_authenticated(settings: Settings) -> bool:
    """Whether calls over HTTP need a token."""
    return settings.tokens_file is not None or settings.oauth_issuer is not None


def listen_addresses(settings: Settings) -> list[str]:
    """The addresses of NANO_BANANA_HOST."""
    return settings.host.split(",")


def check_bind(settings: Settings) -> list[str]:
    """Check the addresses to listen on. Returns warnings for the operator.

    Raises:
        BindRefused: an address can be reached from other machines, and callers would not be authenticated.
    """
    open_addresses = [address for address in listen_addresses(settings) if not is_loopback(address)]
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


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    address = _address(host)
    return host in LOOPBACK_HOSTS or (address is not None and address.is_loopback)


def is_unspecified(host: str) -> bool:
    """Whether the address stands for all addresses of this machine."""
    address = _address(host)
    return address is not None and address.is_unspecified


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
