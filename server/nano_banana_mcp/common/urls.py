"""Validation of http(s) URLs, and the resource URI of an image."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

MAX_URL = 8_192
"""Maximum length of a URL in characters."""

IMAGE_URI = re.compile(r"nanobanana://tasks/([A-Za-z0-9_-]{1,128})/images/(\d{1,3})")
"""Resource URI of an image, by task id and number. It stays readable when the image's URL has died."""

UPLOAD_URI = re.compile(r"nanobanana://uploads/([A-Za-z0-9_-]{1,128})")
"""Resource URI of an image that a person uploaded, or of a request for uploads."""

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

# Characters that RFC 3986 allows in a URL, with the percent sign of existing escapes.
_ALLOWED = "%/:?#[]@!$&'()*+,;=~-._"
_HOST = re.compile(r"(?!-)[\w-]{1,63}(\.[\w-]{1,63})*\.?|[0-9a-f:.]*:[0-9a-f:.]*(%\w+)?")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host."""
    try:
        return host in LOOPBACK_HOSTS or ip_address(host).is_loopback
    except ValueError:
        return False


def upload_uri(identifier: str) -> str:
    """Return the resource URI of an upload, or of a request for uploads."""
    return f"nanobanana://uploads/{identifier}"


def http_url(text: str) -> str | None:
    """Return ``text`` as a plain ASCII http(s) URL, or None if it is not one.

    A well-formed URL is returned unchanged except for a lower-case host and a missing path. A host in another script
    becomes Punycode; in the rest, spaces and letters outside ASCII are escaped.
    Control characters, quotes and angle brackets are refused: they may carry text for the reader.
    """
    text = text.strip(" ")
    if len(text) > MAX_URL or not text.isprintable() or any(character in '"<>\\' for character in text):
        return None
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    try:
        host = host_to_ascii(parts.hostname or "")
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host) or " " in parts.netloc:
        return None
    user, at, address = parts.netloc.rpartition("@")
    if not address.isascii():  # a name in another script: its port stays
        address = host + address[len(address.partition(":")[0]) :]
    plain = parts._replace(netloc=f"{user}{at}{address.lower()}", path=parts.path or "/")
    return quote(plain.geturl(), safe=_ALLOWED)


def host_to_ascii(host: str) -> str:
    """Return a host in lower case; a name in another script as DNS writes it (IDNA).

    Raises:
        ValueError: It cannot be written so.
    """
    if host.isascii():
        return host.lower()
    import idna

    return idna.encode(host, uts46=True).decode("ascii").lower()
