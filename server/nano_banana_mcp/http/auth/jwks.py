"""The OAuth issuer's public keys: PyJWKClient, with discovery, bounded answers, and bounds on how often it fetches."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from jwt import PyJWK, PyJWKClient, PyJWKClientError

from nano_banana_mcp.common.certificates import UnusableCertificates, tls_context
from nano_banana_mcp.common.proxies import Proxy, UnusableProxy, proxy_for
from nano_banana_mcp.common.rate_limit import RateLimiter
from nano_banana_mcp.common.urls import LOOPBACK_HOSTS, http_url
from nano_banana_mcp.common.user_agent import USER_AGENT
from nano_banana_mcp.defapi.transport import failure_reason

FETCH_SECONDS = 5.0
"""Maximum time of one request to the issuer: callers wait for it."""

MAX_ANSWER_BYTES = 256 * 1024
MAX_KEYS = 100

KEYS_LIFETIME_SECONDS = 300.0
"""How long fetched keys are used before they are fetched again."""

FETCH_BURST = 5
FETCH_INTERVAL_SECONDS = 10.0
"""At most `FETCH_BURST` fetches in a row, then one in this time, whatever key ids the tokens name."""

MAX_WAITING_THREADS = 4
"""Threads that fetch keys or wait for a fetch."""

# Algorithm → the key's type and curve (RFC 7518, RFC 8037). None is symmetric: a public key is no secret and must
# never be used as one.
ALGORITHMS: dict[str, tuple[str, str | None]] = {
    **{f"{family}{bits}": ("RSA", None) for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", "secp256r1"),
    "ES384": ("EC", "secp384r1"),
    "ES512": ("EC", "secp521r1"),
    "EdDSA": ("OKP", None),
}

logger = logging.getLogger(__name__)


class IssuerKeys(PyJWKClient):
    """The issuer's keys. While it cannot be reached, its last keys stay valid.

    Args:
        issuer: Its name, exactly as in its tokens and metadata.
        jwks_url: Where its keys are; None to discover it (RFC 8414, OpenID Connect Discovery).
        lifetime_seconds: How long fetched keys are used.
        timeout_seconds: Maximum time of one request.
        clock: Monotonic time in seconds, for the rate limit.
    """

    def __init__(
        self,
        issuer: str,
        jwks_url: str | None = None,
        *,
        lifetime_seconds: float = KEYS_LIFETIME_SECONDS,
        timeout_seconds: float = FETCH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # No cooldown: the rate limit also covers fetches that fail.
        super().__init__(jwks_url or issuer, lifespan=lifetime_seconds, timeout=timeout_seconds, cooldown_duration=0)
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._last_keys: dict[str, Any] | None = None
        self._declared_algorithms: dict[str, str] = {}
        self._rate_limiter = RateLimiter(clock)
        self._threads = anyio.CapacityLimiter(MAX_WAITING_THREADS)

    async def signing_key(self, key_id: str, algorithm: str) -> Any:
        """The public key of this id; None if the issuer has none that fits the algorithm.

        Raises:
            jwt.PyJWTError: the keys cannot be fetched, or there is no such key.
        """
        key = self._cached_key(key_id)
        if key is None:
            key = await anyio.to_thread.run_sync(
                self.get_signing_key, key_id, limiter=self._threads, abandon_on_cancel=True
            )
        fits = _fits(key, algorithm) and self._declared_algorithms.get(key_id, algorithm) == algorithm
        return key.key if fits else None

    def _cached_key(self, key_id: str) -> PyJWK | None:
        """A key that needs no fetch, so that most calls need no thread."""
        assert self.jwk_set_cache is not None, "PyJWKClient caches by default"
        keys = self.jwk_set_cache.get()
        return None if keys is None else next((key for key in keys.keys if _is_signing_key(key, key_id)), None)

    def problem(self) -> str | None:
        """Fetch the keys. Returns why they cannot be fetched; None if they can."""
        try:
            self._fetch_keys()
        except PyJWKClientError as error:
            return str(error)
        return None

    def fetch_data(self) -> Any:
        """Fetch the keys, within the rate limit; PyJWKClient caches them.

        Raises:
            PyJWKClientError: the keys cannot be fetched, and there are no earlier ones.
        """
        try:
            self._last_keys = self._fetch_keys()
        except PyJWKClientError as error:
            if self._last_keys is None:
                logger.warning("the OAuth issuer's keys cannot be fetched: %s", error)
                raise
            logger.warning("the OAuth issuer's keys cannot be fetched (%s); its last keys stay valid", error)
        return self._last_keys

    def _fetch_keys(self) -> dict[str, Any]:
        if self._rate_limiter.acquire("", burst=FETCH_BURST, interval_seconds=FETCH_INTERVAL_SECONDS):
            raise PyJWKClientError("too many fetches")
        published = self._get_json(self._jwks_url or self._discover()).get("keys")
        if not isinstance(published, list):
            raise PyJWKClientError("its key set has no list of keys")
        keys = [key for key in published[:MAX_KEYS] if _is_usable(key)]
        if not keys:
            raise PyJWKClientError("its key set has no usable keys")
        self._declared_algorithms = {key["kid"]: key["alg"] for key in keys if "alg" in key}
        return {"keys": keys}

    def _discover(self) -> str:
        problem = ""
        for url in _metadata_urls(self._issuer):
            try:
                metadata = self._get_json(url)
            except PyJWKClientError as error:
                problem = str(error)
                continue
            if metadata.get("issuer") != self._issuer:
                raise PyJWKClientError("its metadata belongs to another issuer")
            jwks_url = metadata.get("jwks_uri")
            if not isinstance(jwks_url, str) or not _is_safe(jwks_url):
                raise PyJWKClientError("its metadata has no https address of keys")
            return jwks_url
        raise PyJWKClientError(f"its metadata was not found: {problem}")

    def _get_json(self, url: str) -> dict[str, Any]:
        """One bounded GET without redirects.

        Raises:
            PyJWKClientError: there is no answer, or it is not a JSON object. The message may be logged.
        """
        deadline = time.monotonic() + self.timeout
        received = bytearray()
        proxy: Proxy | None = None
        try:
            proxy = proxy_for(url)
            with (
                httpx.Client(
                    proxy=None if proxy is None else proxy.for_httpx(),
                    trust_env=False,  # httpx fails on any variable that it cannot parse
                    verify=tls_context() if urlsplit(url).scheme == "https" else False,
                    timeout=self.timeout,
                    headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
                ) as client,
                client.stream("GET", url) as response,
            ):
                if not response.is_success:
                    raise PyJWKClientError(f"its answer was {response.status_code}")
                for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) > MAX_ANSWER_BYTES:
                        raise PyJWKClientError("its answer is too large")
                    if time.monotonic() > deadline:
                        raise PyJWKClientError(f"no complete answer within {self.timeout:g} s")
            answer = json.loads(received)
        except (UnusableProxy, UnusableCertificates) as error:
            raise PyJWKClientError(str(error)) from None
        except (httpx.RequestError, httpx.InvalidURL, OSError) as error:
            raise PyJWKClientError(failure_reason(error, proxy)) from None
        except (ValueError, RecursionError):
            raise PyJWKClientError("its answer is not JSON") from None
        if not isinstance(answer, dict):
            raise PyJWKClientError("its answer is not a JSON object")
        return answer


def _metadata_urls(issuer: str) -> list[str]:
    """RFC 8414 inserts the well-known part before the issuer's path, OpenID Connect appends it."""
    parts = urlsplit(issuer)
    root, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    urls = [
        f"{root}/.well-known/oauth-authorization-server{path}",
        f"{root}/.well-known/openid-configuration{path}",
        f"{root}{path}/.well-known/openid-configuration",
    ]
    return list(dict.fromkeys(urls))


def _is_safe(url: str) -> bool:
    parts = urlsplit(http_url(url) or "")
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS)


def _is_usable(key: Any) -> bool:
    """Whether a published key can be used, so that one malformed key does not take the others away."""
    if not isinstance(key, dict) or not isinstance(key.get("kid"), str) or not isinstance(key.get("alg", ""), str):
        return False
    try:
        PyJWK(key)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return False
    return True


def _is_signing_key(key: PyJWK, key_id: str) -> bool:
    return key.key_id == key_id and key.public_key_use in ("sig", None)


def _fits(key: PyJWK, algorithm: str) -> bool:
    key_type, curve = ALGORITHMS[algorithm]
    if key.key_type != key_type:
        return False
    return curve is None or (isinstance(key.key, EllipticCurvePublicKey) and key.key.curve.name == curve)
