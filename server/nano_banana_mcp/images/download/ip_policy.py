"""The rule against server-side request forgery: which addresses belong to the public internet."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# Written out from IANA's special-purpose registries: `is_global` is wrong for some of these before Python 3.11.10.
_CLOSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; a cloud's metadata service
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host agent: a public number, reachable from inside only
        "169.254.0.0/16",  # link-local; the metadata service of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)

# All of IPv6 that is allocated. Outside it are loopback, mapped and compatible IPv4, unique local, link-local,
# site-local, multicast, discard-only, SRv6 and the NAT64 of single networks (64:ff9b:1::/48).
_OPEN_V6 = IPv6Network("2000::/3")
_CLOSED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: wraps any IPv4 address
        "3fff::/20",  # documentation
    )
)

_NAT64 = IPv6Network("64:ff9b::/96")
"""Stands for the IPv4 address in its last 32 bits (RFC 6052): all that a resolver of an IPv6-only network returns."""

_SYNTHETIC = IPv4Network("198.18.0.0/15")
"""Addresses that local proxy programs (Clash, Surge, sing-box) answer for every name, and map back to it."""

_IPV4_PARTS = 4
_DIGITS = {8: "01234567", 10: "0123456789", 16: "0123456789abcdef"}


def is_public(ip: str | IPv4Address | IPv6Address) -> bool:
    """Whether connections to an address are allowed. Text that is not an address is not public."""
    try:
        address = ip_address(ip)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return is_public(IPv4Address(address.packed[-4:]))
    return address in _OPEN_V6 and not any(address in network for network in _CLOSED_V6)


def is_synthetic(ip: str) -> bool:
    """Whether an address of a resolver's answer is one that local proxy programs make up (fake-IP DNS)."""
    try:
        return IPv4Address(ip) in _SYNTHETIC
    except ValueError:
        return False


def is_unspecified(ip: str) -> bool:
    """Whether an address is ``0.0.0.0`` or ``::``, which filters answer for names that they block."""
    try:
        return ip_address(ip).is_unspecified
    except ValueError:
        return False


def ipv4_from_spelling(host: str) -> IPv4Address | None:
    """Read a host the way C libraries and browsers do: ``127.1``, ``0x7f.1``, ``017700000001``, ``2130706433``.

    Returns:
        The address; None if the host is a name (its last label is not a number).

    Raises:
        ValueError: It ends in a number but is not an address in any spelling.
    """
    labels = host.lower().split(".")
    if not (labels[-1].isdecimal() or labels[-1].startswith("0x")):
        return None
    if len(labels) > _IPV4_PARTS:
        raise ValueError("more than four parts")
    *parts, last = [_number(label) for label in labels]
    if any(part > 0xFF for part in parts) or last >= 1 << 8 * (_IPV4_PARTS - len(parts)):
        raise ValueError("a part is too large")
    return IPv4Address(last + sum(part << 8 * (3 - place) for place, part in enumerate(parts)))


def _number(label: str) -> int:
    base, digits = 10, label
    if label.startswith("0x"):
        base, digits = 16, label[2:] or "0"
    elif label.startswith("0") and len(label) > 1:
        base, digits = 8, label[1:]
    if not set(digits) <= set(_DIGITS[base]):  # int() takes more: signs, underscores, the digits of every script
        raise ValueError("not a number")
    return int(digits, base)
