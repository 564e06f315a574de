"""Which of the issuer's keys a token was signed with, without letting tokens decide how often the issuer is asked."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import jwt

from nano_banana_mcp.hosting.issuer import KeySet, NoKeys

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
