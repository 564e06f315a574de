"""Which URLs the outside world can reach, by their spelling alone: no name is resolved."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from urllib.parse import urlsplit

from nano_banana_mcp.images.download.ip_policy import is_public
from nano_banana_mcp.images.download.url_policy import Target
from nano_banana_mcp.images.errors import AddressRefused

# Reserved by RFC 2606, 6761, 6762 (appendix G), 7686, 8375 and 9476, by ICANN (internal; corp, home and mail were
# withdrawn), or set by Docker, Kubernetes, Consul and routers. `.example` is left out: documents use it.
_INSIDE_SUFFIXES = {
    "localhost", "local", "localdomain", "internal", "intranet", "private", "corp", "home", "lan", "mail", "test",
    "invalid", "onion", "alt", "arpa", "domain", "workgroup", "router", "gateway", "server", "docker", "consul", "svc",
    "pod", "fritz.box", "localnet", "loc", "dhcp", "vpn", "wlan", "openstacklocal", "zerotier",
}  # fmt: skip
_TOP_LEVEL = re.compile(r"[a-z]{2,63}|xn--[a-z0-9-]{1,59}")

# Names of the public DNS that lead back to the machine that asks, or to an address in the name.
_LOOPBACK_NAMES = {"localtest.me", "lvh.me", "lacolhost.com", "vcap.me", "localho.st", "lndo.site", "ddev.site"}
_ADDRESS_IN_NAME = re.compile(
    r"(?:^|[.-])(\d{1,3}[.-]\d{1,3}[.-]\d{1,3}[.-]\d{1,3}|[0-9a-f]{8})\.(?:nip\.io|sslip\.io|traefik\.me)$"
)


def is_inside_network(url: str) -> bool:
    """Return whether a URL leads to an address or a name that only one machine or one network knows."""
    try:
        target = Target.parse(url)
    except AddressRefused:
        return True
    if target.address is not None:
        return not is_public(target.address)
    host = target.host
    if match := _ADDRESS_IN_NAME.search(host):
        digits = match[1].replace("-", ".")
        return not is_public(digits if "." in digits else IPv4Address(int(digits, 16)))
    labels = host.split(".")
    parents = {".".join(labels[number:]) for number in range(len(labels))}
    return (
        len(labels) < 2 or not _TOP_LEVEL.fullmatch(labels[-1]) or bool(parents & (_INSIDE_SUFFIXES | _LOOPBACK_NAMES))
    )


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, in lower case."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower()


def without_user(url: str) -> str:
    """Return a URL without the user name and password in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else url
