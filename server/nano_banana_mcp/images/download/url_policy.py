"""Which URLs may be downloaded. A URL is parsed once, so that the checked host is the one that is connected to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, urljoin, urlsplit

from nano_banana_mcp.common.urls import host_to_ascii
from nano_banana_mcp.images.download.ip_policy import ipv4_from_spelling
from nano_banana_mcp.images.errors import AddressRefused

_MAX_URL = 8192
_MAX_HOST = 253
_NO_HOST = "The URL's host is neither a name nor an address."
_PORTS = {"https": 443, "http": 80}
_INSIDE_NAMES = ("localhost", "local", "localdomain", "internal", "home.arpa")

# Parsers disagree about these characters, and no URL needs them: control characters, white space, backslashes.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]*)(:(?P<port>[0-9]{0,5}))?")
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class Target:
    """The destination of a request.

    Attributes:
        origin: Scheme, host and port as they were written, in lower case.
        host: The name in ASCII, or the address in its usual spelling (IPv6 without brackets).
        address: The address, if the host is one.
        path: Path and query; never a fragment.
    """

    scheme: str
    host: str
    port: int
    path: str
    origin: str
    address: IPv4Address | IPv6Address | None

    @property
    def host_header(self) -> str:
        """The value of ``Host``."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> Target:
        """Parse a URL.

        Raises:
            AddressRefused: It is not a well-formed http(s) URL.
        """
        if len(url) > _MAX_URL or _FORBIDDEN.search(url):
            raise AddressRefused("The URL is too long, or has spaces, control characters or backslashes in it.")
        try:
            parts = urlsplit(url)
        except ValueError:
            raise AddressRefused("The URL cannot be read.") from None
        if parts.scheme not in _PORTS:
            raise AddressRefused("The URL is not an https:// URL.")
        if "@" in parts.netloc:
            raise AddressRefused("The URL carries a user name or password.")
        authority = _AUTHORITY.fullmatch(parts.netloc)
        if authority is None:
            raise AddressRefused("The URL's host cannot be read.")
        port = int(authority["port"] or _PORTS[parts.scheme])
        if not 0 < port <= 0xFFFF:
            raise AddressRefused("The URL's port does not exist.")
        host, address = _read_host(authority["host"])
        path = quote(parts.path or "/", safe=_PRINTABLE)
        if parts.query:
            path += "?" + quote(parts.query, safe=_PRINTABLE)
        return cls(parts.scheme, host, port, path, f"{parts.scheme}://{parts.netloc.lower()}", address)

    def follow(self, location: str) -> Target:
        """Return the target of a redirect from here.

        Raises:
            AddressRefused: As :meth:`parse`.
        """
        if len(location) > _MAX_URL or _FORBIDDEN.search(location):
            raise AddressRefused(f"The host {self.host} redirects to a URL that cannot be read.")
        try:
            return self.parse(urljoin(self.origin + self.path, location))
        except ValueError:
            raise AddressRefused(f"The host {self.host} redirects to a URL that cannot be read.") from None

    def require_public_form(self) -> None:
        """Require https, port 443 and a host name that is not internal.

        Raises:
            AddressRefused: It breaks a rule.
        """
        if self.scheme != "https":
            raise AddressRefused("The URL is not an https:// URL.")
        if self.port != _PORTS["https"]:
            raise AddressRefused("The URL names a port other than 443.")
        if self.address is None and any(f".{self.host}".endswith(f".{name}") for name in _INSIDE_NAMES):
            raise AddressRefused(f"The host {self.host} is an internal network name.")

    def require_public_name(self) -> None:
        """Require an address, or a name with a dot, for a proxy that resolves it: others are internal network names.

        Raises:
            AddressRefused: It is a name without a dot.
        """
        if self.address is None and "." not in self.host:
            raise AddressRefused(f"The host {self.host} is an internal network name.")


def _read_host(written: str) -> tuple[str, IPv4Address | IPv6Address | None]:
    if len(written) > _MAX_HOST and not written.isascii():  # before the slow conversion
        raise AddressRefused(_NO_HOST)
    try:
        if written.startswith("["):
            v6 = IPv6Address(written[1:-1])
            return str(v6), v6
        host = host_to_ascii(written).removesuffix(".")
        v4 = ipv4_from_spelling(host)
    except ValueError:
        raise AddressRefused(_NO_HOST) from None
    if v4 is not None:
        return str(v4), v4
    if len(host) > _MAX_HOST or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise AddressRefused(_NO_HOST)
    return host, None
