"""The forward proxy for a URL: chosen here, because httpx fails as a whole on one variable that it cannot parse."""

from __future__ import annotations

import os
import re
import urllib.request
from dataclasses import dataclass, field
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nano_banana_mcp.common.certificates import tls_context
from nano_banana_mcp.common.urls import http_url, is_loopback

if TYPE_CHECKING:
    import httpx

_PORTS = {"https": 443, "http": 80}
_SCHEMES = {"http": "http", "https": "https", "socks5": "socks5h", "socks5h": "socks5h", "socks": "socks5h"}
"""Schemes of proxies, and those that httpx gets. `socks` is how desktop settings write it; all resolve at the proxy."""


class UnusableProxy(ValueError):
    """The proxy for a host cannot be used. The text names the variable and the reason, and no password."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A forward proxy.

    Attributes:
        url: Its address, with user name and password if it has any.
        source: The environment variable that names it, or the system's settings.
    """

    url: str = field(repr=False)
    source: str

    def for_httpx(self) -> httpx.Proxy:
        """Return the proxy as httpx takes it."""
        import httpx

        # A context is an error for the other schemes.
        return httpx.Proxy(self.url, ssl_context=tls_context() if self.url.startswith("https:") else None)

    def describe_failure(self, error: Exception) -> str | None:
        """Return why the proxy did not forward a request; None if the failure is not the proxy's."""
        import httpx

        named = f"the proxy that {self.source} names"
        if isinstance(error, httpx.ProxyError):
            status = re.match(r"\d{3}\b", str(error))
            return f"{named} refused the connection{f' ({status[0]})' if status else ''}"
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return f"{named} cannot be connected to"
        return None


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy for a URL, from the environment, or else from the system's settings (Windows, macOS).

    Loopback addresses have none. Only the variable that applies to the URL is read, and entries of NO_PROXY that
    cannot be parsed are ignored.

    Args:
        url: An http(s) URL. Only its scheme, host and port count.

    Returns:
        The proxy; None where the connection is direct.

    Raises:
        UnusableProxy: The proxy's address is malformed, or needs a package that is not installed.
    """
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme, 0)
    if is_loopback(host):
        return None
    proxies = urllib.request.getproxies_environment()
    if proxies:
        excluded = re.split(r"[,\s]+", proxies.get("no", ""))
        if any(_covers(entry.lower(), host, port) for entry in excluded if entry):
            return None
    else:
        proxies = urllib.request.getproxies()
        if not proxies or urllib.request.proxy_bypass(host):
            return None
    for kind in (parts.scheme, "all"):
        if value := proxies.get(kind, "").strip():
            return _parse(value, _source(kind))
    return None


def _source(kind: str) -> str:
    variables = [name for name in os.environ if name.lower() == f"{kind}_proxy" and os.environ[name]]
    # urllib prefers the name in lower case.
    return max(variables, key=str.islower, default="the proxy settings of this system")


def _parse(value: str, source: str) -> Proxy:
    scheme, separator, rest = value.partition("://")
    scheme, rest = (scheme.lower(), rest) if separator else ("http", value)
    if scheme not in _SCHEMES:
        raise UnusableProxy(f"{source} cannot be used: it must be an http://, https:// or socks5:// URL")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in rest[len(authority) :] or authority.count("@") > 1:
        raise UnusableProxy(
            f"{source} cannot be used: in its user name or password, write %40 for @, %23 for #, %2F for /, %3F for ?"
        )
    if http_url(f"http://{authority}") is None or not urlsplit(f"http://{authority}").hostname:
        raise UnusableProxy(f"{source} cannot be used: it is not a valid URL such as http://proxy.example.org:3128")
    if scheme.startswith("socks") and find_spec("socksio") is None:
        raise UnusableProxy(
            f"{source} cannot be used: a SOCKS proxy needs the extra “socks”: pip install '.[socks]' in the project's "
            "folder"
        )
    return Proxy(f"{_SCHEMES[scheme]}://{authority}", source)


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY stands for a host: a name with all below it, an address, a network, or ``*``."""
    if entry == "*":
        return True
    entry = entry.rpartition("://")[2].rstrip("/")
    name, _, end = entry.rpartition(":")
    if end.isdecimal() and name and (":" not in name or name.endswith("]")):
        if int(end) != port:
            return False
        entry = name
    entry = entry.replace("[", "").replace("]", "")
    network, address = _network(entry), _address(host)
    if network is not None:
        return address is not None and address in network
    suffix = entry.lstrip("*").strip(".")
    return bool(suffix) and f".{host}".endswith(f".{suffix}")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
