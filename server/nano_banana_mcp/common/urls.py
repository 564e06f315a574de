"""The one idea of an http(s) URL, and of a picture's own URI, that the rooms share."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

MAX_URL = 8_192
IMAGE_URI = re.compile(r"nanobanana://tasks/([A-Za-z0-9_-]{1,128})/images/(\d{1,3})")
"""Under which this server reads out a picture, by task id and number, whatever became of its URL."""

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

# What RFC 3986 allows in a URL, and the percent sign of what is escaped already.
_ALLOWED = "%/:?#[]@!$&'()*+,;=~-._"
_HOST = re.compile(r"(?!-)[\w-]{1,63}(\.[\w-]{1,63})*\.?|[0-9a-f:.]*:[0-9a-f:.]*(%\w+)?")


def http_url(text: str) -> str | None:
    """``text`` as a plain ASCII http(s) URL, or None where it is none.

    A URL that is well formed comes back as it is, but for the upper case of its host and a missing path.
    Blanks and letters outside ASCII are escaped; control characters, quotes and angle brackets are refused,
    since what carries them may be meant for whoever reads the URL.
    """
    text = text.strip(" ")
    if len(text) > MAX_URL or not text.isprintable() or any(letter in '"<>\\' for letter in text):
        return None
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host) or " " in parts.netloc:
        return None
    netloc = parts.netloc.rpartition("@")
    plain = parts._replace(netloc=f"{netloc[0]}{netloc[1]}{netloc[2].lower()}", path=parts.path or "/")
    return quote(plain.geturl(), safe=_ALLOWED)
