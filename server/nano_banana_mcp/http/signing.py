"""Signed callback URLs: ``/webhooks/{intent_id}/{signature}``, the signature being an HMAC of the generation id.

The API signs nothing, so the address carries the proof that a callback comes from someone we gave it to.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from mcp.server.request_state import AESGCMRequestStateCodec

from nano_banana_mcp.common.files import atomic_write, private_folder, reason_of
from nano_banana_mcp.settings import Settings
from nano_banana_mcp.storage import known_secret, shared_secret

logger = logging.getLogger(__name__)

WEBHOOK_PATH = "/webhooks/{intent_id}/{signature}"
KEY_FILE = "webhook.key"

PROBE_PREFIX = "probe-"
"""Prefix of the ids with which ``doctor`` checks that the public URL leads here; no generation id begins with it."""


class KeyRing:
    """Signs with the first key and accepts signatures of all, so that keys can be rotated while callbacks are due."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = list(keys)

    def sign(self, generation_id: str) -> str:
        """The signature of a generation id, in hexadecimal digits."""
        return _hmac(self._keys[0], generation_id)

    def derived(self, purpose: str) -> list[str]:
        """A key for another purpose from each key, without repetitions."""
        return list(dict.fromkeys(_hmac(key, purpose) for key in self._keys))

    def accepts(self, generation_id: str, signature: str) -> bool:
        """Whether one of the keys made this signature, compared in constant time."""
        received = signature.encode(errors="replace")
        matches = [hmac.compare_digest(_hmac(key, generation_id).encode(), received) for key in self._keys]
        return any(matches)


class CallbackUrls:
    """Makes the callback URL of a generation.

    Args:
        public_url: Where this server is reached from the internet, without a trailing slash.
        key_ring: Signs the URLs.
    """

    def __init__(self, public_url: str, key_ring: KeyRing) -> None:
        self._root = f"{public_url}/webhooks"
        self._key_ring = key_ring

    def url_for(self, generation_id: str) -> str:
        """The URL that the API should call when this generation ends."""
        return f"{self._root}/{generation_id}/{self._key_ring.sign(generation_id)}"


class SharedStateCodec:
    """Seals the state of confirmations, so that every replica, and the next process, can open it.

    The keys are read with the first use. Where none can be stored, only this process can open what it has sealed.

    Args:
        settings: Where the keys are, as for :func:`open_key_ring`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def seal(self, payload: bytes) -> str:
        """See :class:`~mcp.server.request_state.RequestStateCodec`."""
        return self._codec.seal(payload)

    def unseal(self, token: str) -> bytes:
        """See :class:`~mcp.server.request_state.RequestStateCodec`."""
        return self._codec.unseal(token)

    @functools.cached_property
    def _codec(self) -> AESGCMRequestStateCodec:
        try:
            key_ring = open_key_ring(self._settings)
        except OSError as error:
            logger.warning("The key for confirmations cannot be stored: %s.", reason_of(error))
            key_ring = KeyRing([secrets.token_bytes(32)])
        return AESGCMRequestStateCodec(key_ring.derived("state of confirmations"))


def answer_to(probe: str, key_ring: KeyRing) -> str:
    """The answer to a probe of ``doctor``, which only a server with these keys can give."""
    return key_ring.sign(f"answer to {probe}")


def open_key_ring(settings: Settings) -> KeyRing:
    """The keys of the settings; if there are none, a generated one, stored in the database or the state folder.

    Raises:
        OSError: the key file cannot be written.
        LedgerError: the database cannot be used.
    """
    keys = _configured_keys(settings)
    if not keys and settings.ledger_url is not None:
        keys = [shared_secret(settings, KEY_FILE, secrets.token_hex(32)).encode()]
    return KeyRing(keys or [_stored_key(settings.state_path / KEY_FILE)])


def known_key_ring(settings: Settings) -> KeyRing | None:
    """As :func:`open_key_ring`, but never generates a key: None before one exists.

    Raises:
        OSError: the key file cannot be read.
        LedgerError: the database cannot be used.
    """
    keys = _configured_keys(settings)
    if not keys and settings.ledger_url is not None:
        shared = known_secret(settings, KEY_FILE)
        return KeyRing([shared.encode()]) if shared else None
    try:
        return KeyRing(keys or [(settings.state_path / KEY_FILE).read_bytes()])
    except FileNotFoundError:
        return None


def _configured_keys(settings: Settings) -> list[bytes]:
    configured = settings.webhook_keys.get_secret_value() if settings.webhook_keys else ""
    return [key.strip().encode() for key in configured.split(",") if key.strip()]


def _hmac(key: bytes, generation_id: str) -> str:
    return hmac.new(key, generation_id.encode(errors="replace"), hashlib.sha256).hexdigest()


def _stored_key(path: Path) -> bytes:
    """Read the key file; if it is missing, create it atomically and for the owner only."""
    private_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    atomic_write(temporary, secrets.token_hex(32).encode())
    try:
        os.link(temporary, path)  # of several processes that start together, one wins
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return path.read_bytes()
