"""The issuer's public keys: fetched within bounds, and kept, so that tokens do not decide how often it is asked."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from json import loads
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio

from nano_banana_mcp import __version__
from nano_banana_mcp.common.urls import LOOPBACK_HOSTS, http_url

if TYPE_CHECKING:
    import httpx


import logging
import time
from collections.abc import Awaitable, Callable

import jwt

FETCH_SECONDS = 5.0
"""For all of it: the requests that wait for these keys are somebody's calls."""

MAX_ANSWER_BYTES = 256 * 1024
MAX_KEYS = 100
KEPT_SECONDS = 300.0
MIN_KEPT_SECONDS, MAX_KEPT_SECONDS = 60.0, 3600.0

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
        return KeySet([key for key in keys[:MAX_KEYS] if isinstance(key, dict)], kept_for)

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
            if len(received) > MAX_ANSWER_BYTES:
                raise NoKeys("its answer is too large")
        kept_for = _kept_for(response.headers.get("cache-control", ""))
    answer = loads(received)
    if not isinstance(answer, dict):
        raise NoKeys("its answer is no JSON object")
    return answer, kept_for


def _kept_for(cache_control: str) -> float:
    if _NOT_KEPT.search(cache_control):
        return MIN_KEPT_SECONDS
    said = _MAX_AGE.search(cache_control)
    return min(max(float(said[1]), MIN_KEPT_SECONDS), MAX_KEPT_SECONDS) if said else KEPT_SECONDS


logger = logging.getLogger(__name__)

BURST = 5
REFILL_SECONDS = 10.0
"""At most `BURST` fetches in a row, then one in so many seconds, whatever key ids the tokens name."""

AGAIN_SECONDS = 30.0
"""After the keys of before could not be renewed."""

# An algorithm, and the kind of key that it takes (RFC 7518, RFC 8037). None of them is symmetric: a public key is no
# secret, and must never be taken for one.
ALGORITHMS: dict[str, tuple[str, str | None]] = {
    **{f"{family}{bits}": ("RSA", None) for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}


class Keys:
    """The last good keys; asked for again when they are old, or when a token names one that is not among them.

    Args:
        fetch: Asks the issuer.
        clock: Seconds that only ever grow.
    """

    def __init__(self, fetch: Callable[[], Awaitable[KeySet]], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._published: list[dict[str, Any]] = []
        self._built: dict[tuple[str, str], jwt.PyJWK] = {}
        self._fresh_until = float("-inf")
        self._fetching = anyio.Lock()
        self._fetches = 0
        self._left, self._counted_at = float(BURST), clock()

    async def find(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """The key of this id, for this algorithm only; None where the issuer has none.

        Raises:
            jwt.PyJWTError: the issuer's key cannot be used.
        """
        if self._clock() >= self._fresh_until or all(known.get("kid") != key_id for known in self._published):
            await self._renew()
        return self._look(key_id, algorithm)

    def _look(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        if (key_id, algorithm) in self._built:
            return self._built[key_id, algorithm]
        for key in self._published:
            if key.get("kid") == key_id and _takes(key, algorithm):
                self._built[key_id, algorithm] = jwt.PyJWK(key, algorithm)
                return self._built[key_id, algorithm]
        return None

    async def _renew(self) -> None:
        before = self._fetches
        async with self._fetching:
            if self._fetches != before or not self._may_fetch():
                return  # somebody else's fetch has ended while this one waited, or there were too many
            try:
                found = await self._fetch()
            except NoKeys as error:
                logger.warning("the OAuth issuer's keys cannot be fetched (%s); those of before stay valid", error)
                self._fresh_until = self._clock() + AGAIN_SECONDS if self._published else float("-inf")
            else:
                self._published, self._built = found.keys, {}
                self._fresh_until = self._clock() + found.seconds
            self._fetches += 1

    def _may_fetch(self) -> bool:
        now = self._clock()
        self._left = min(BURST, self._left + (now - self._counted_at) / REFILL_SECONDS)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _takes(key: dict[str, Any], algorithm: str) -> bool:
    kind, curve = ALGORITHMS[algorithm]
    return (
        key.get("kty") == kind
        and (curve is None or key.get("crv") == curve)
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
    )
