"""The issuer's public keys, over the network: found by its metadata, bounded in bytes and seconds."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from json import loads
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio

from nano_banana_mcp import __version__
from nano_banana_mcp.urls import LOOPBACK_HOSTS, http_url

if TYPE_CHECKING:
    import httpx

FETCH_SECONDS = 5.0
"""For all of it: the requests that wait for these keys are somebody's calls."""

LARGEST_ANSWER_BYTES = 256 * 1024
MOST_KEYS = 100
KEPT_SECONDS = 300.0
LEAST_KEPT_SECONDS, MOST_KEPT_SECONDS = 60.0, 3600.0

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})(?![^\s,])", re.IGNORECASE)
_NOT_KEPT = re.compile(r"(?:^|[\s,])no-(?:store|cache)(?![^\s,])", re.IGNORECASE)


class NoKeys(Exception):
    """The issuer gave no keys. The text may be logged."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """What the issuer published (RFC 7517), and for how many seconds it may be taken for granted."""

    keys: list[dict[str, Any]]
    seconds: float


class Issuer:
    """Where the keys are.

    Args:
        name: The issuer, exactly as its tokens and its metadata name it.
        jwks_url: Its keys; None to ask its metadata (RFC 8414, OpenID Connect Discovery).
    """

    def __init__(self, name: str, jwks_url: str | None = None) -> None:
        self._name = name
        self._given = jwks_url
        self._found: str | None = None

    async def keys(self) -> KeySet:
        """The keys as they are now.

        Raises:
            NoKeys: there is no answer, or none with keys in it.
        """
        import httpx

        problem = f"no whole answer within {FETCH_SECONDS:g} s"
        try:
            with anyio.fail_after(FETCH_SECONDS):
                async with httpx.AsyncClient(
                    # Nothing on this machine is reached through a proxy.
                    trust_env=urlsplit(self._given or self._name).hostname not in LOOPBACK_HOSTS,
                    follow_redirects=False,
                    timeout=FETCH_SECONDS,
                    headers={"User-Agent": f"nano-banana-mcp/{__version__}", "Accept": "application/json"},
                ) as http:
                    return await self._keys(http)
        except TimeoutError:
            pass
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, ValueError, RecursionError) as error:
            problem = type(error).__name__
        except NoKeys as error:
            problem = str(error)
        self._found = None  # the keys may have moved
        raise NoKeys(problem)

    async def _keys(self, http: httpx.AsyncClient) -> KeySet:
        url = self._given or self._found or await self._discovered(http)
        published, kept_for = await _get(http, url)
        keys = published.get("keys")
        if not isinstance(keys, list):
            raise NoKeys("there are no keys in what it publishes as its keys")
        self._found = url
        return KeySet([key for key in keys[:MOST_KEYS] if isinstance(key, dict)], kept_for)

    async def _discovered(self, http: httpx.AsyncClient) -> str:
        problem = ""
        for url in _metadata_urls(self._name):
            try:
                metadata, _ = await _get(http, url)
            except NoKeys as error:
                problem = str(error)
                continue
            if metadata.get("issuer") != self._name:
                raise NoKeys("its metadata is another issuer's")
            jwks_url = metadata.get("jwks_uri")
            if not isinstance(jwks_url, str) or not _is_safe(jwks_url):
                raise NoKeys("its metadata names no https address of keys")
            return jwks_url
        raise NoKeys(f"its metadata was not found: {problem}")


def _metadata_urls(issuer: str) -> list[str]:
    """RFC 8414 puts the well-known part before the issuer's path, OpenID Connect after it."""
    parts = urlsplit(issuer)
    root, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    urls = [
        f"{root}/.well-known/oauth-authorization-server{path}",
        f"{root}/.well-known/openid-configuration{path}",
        f"{root}{path}/.well-known/openid-configuration",
    ]
    return list(dict.fromkeys(urls))


def _is_safe(url: str) -> bool:
    known = http_url(url)
    parts = urlsplit(known or "")
    return parts.scheme == "https" or (known is not None and parts.hostname in LOOPBACK_HOSTS)


async def _get(http: httpx.AsyncClient, url: str) -> tuple[dict[str, Any], float]:
    received = bytearray()
    async with http.stream("GET", url) as response:
        if response.status_code != 200:
            raise NoKeys(f"its answer was {response.status_code}")
        async for chunk in response.aiter_bytes():
            received += chunk
            if len(received) > LARGEST_ANSWER_BYTES:
                raise NoKeys("its answer is too large")
        kept_for = _kept_for(response.headers.get("cache-control", ""))
    answer = loads(received)
    if not isinstance(answer, dict):
        raise NoKeys("its answer is no JSON object")
    return answer, kept_for


def _kept_for(cache_control: str) -> float:
    if _NOT_KEPT.search(cache_control):
        return LEAST_KEPT_SECONDS
    said = _MAX_AGE.search(cache_control)
    return min(max(float(said[1]), LEAST_KEPT_SECONDS), MOST_KEPT_SECONDS) if said else KEPT_SECONDS
