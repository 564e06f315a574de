"""The receiver of the API's callbacks: a hint that it is time to ask, and nothing more.

The API signs nothing, so the address itself carries a signature: ``/webhooks/{intent_id}/{signature}``, an HMAC of
our intent id that nobody can guess. Every request that is not exactly right gets the same 404.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from nano_banana_mcp.defapi.schemas import TASK_ID
from nano_banana_mcp.generations.instrumentation import NO_INSTRUMENTATION, Instrumentation
from nano_banana_mcp.ledger.base import LedgerBusy
from nano_banana_mcp.settings import Settings
from nano_banana_mcp.storage import known_secret, shared_secret
from nano_banana_tools.server import ImageServer

PATH = "/webhooks/{intent_id}/{signature}"
MAX_BODY_BYTES = 64 * 1024
MAX_READ_SECONDS = 10.0
KEY_FILE = "webhook.key"

PROBE_PREFIX = "probe-"
"""Names a question of ``doctor``, whether this address leads here; no intent is named so."""


class KeyRing:
    """Signs with the first key, accepts the signatures of all: so a key can be replaced while callbacks are out."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = list(keys)

    def sign(self, generation_id: str) -> str:
        """The signature of an intent id, as hexadecimal digits."""
        return _hmac(self._keys[0], generation_id)

    def accepts(self, generation_id: str, signature: str) -> bool:
        """Whether one of the keys made this signature. Takes the same time for any wrong one."""
        given = signature.encode(errors="replace")
        matches = [hmac.compare_digest(_hmac(key, generation_id).encode(), given) for key in self._keys]
        return any(matches)


def open_key_ring(settings: Settings) -> KeyRing:
    """The keys of the settings; where there are none, one of our own that is kept in the state folder, or in the
    database that replicas share.

    Raises:
        OSError, LedgerError: it cannot be kept.
    """
    keys = _given_keys(settings)
    if not keys and settings.ledger_url is not None:
        keys = [shared_secret(settings, KEY_FILE, secrets.token_hex(32)).encode()]
    return KeyRing(keys or [_kept_key(settings.state_path / KEY_FILE)])


def known_key_ring(settings: Settings) -> KeyRing | None:
    """As :func:`open_key_ring`, but makes no key: None where there is none yet.

    Raises:
        OSError, LedgerError: it cannot be read.
    """
    keys = _given_keys(settings)
    if not keys and settings.ledger_url is not None:
        shared = known_secret(settings, KEY_FILE)
        return KeyRing([shared.encode()]) if shared else None
    try:
        return KeyRing(keys or [(settings.state_path / KEY_FILE).read_bytes()])
    except FileNotFoundError:
        return None


def _given_keys(settings: Settings) -> list[bytes]:
    given = settings.webhook_keys.get_secret_value() if settings.webhook_keys else ""
    return [key.strip().encode() for key in given.split(",") if key.strip()]


def receiver(
    server: ImageServer, keys: KeyRing, telemetry: Instrumentation = NO_INSTRUMENTATION
) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint for :data:`PATH`."""

    async def receive(request: Request) -> Response:
        generation_id = request.path_params["intent_id"]
        if request.method != "POST" or not keys.accepts(generation_id, request.path_params["signature"]):
            return refused()
        if generation_id.startswith(PROBE_PREFIX):
            return PlainTextResponse(answer_to(generation_id, keys))
        named = _task_id(await _read(request))
        try:
            if named is None or not await server.called_back(generation_id, named):
                return refused()
        except LedgerBusy:
            return Response(status_code=503)  # whoever signed it is known to us: it may come again
        return Response(status_code=204)

    def refused() -> Response:
        telemetry.called_back(None, "refused")
        return _nothing_here()

    return receive


def answer_to(probe: str, keys: KeyRing) -> str:
    """What only a server with these keys can answer."""
    return keys.sign(f"answer to {probe}")


async def _read(request: Request) -> bytes:
    body = bytearray()
    try:
        with anyio.fail_after(MAX_READ_SECONDS):
            async with aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        return b""
    except (ClientDisconnect, TimeoutError):
        return b""
    return bytes(body)


def _task_id(body: bytes) -> str | None:
    """The task that a callback is about; all else it says is for the query to say."""
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    task_id = said.get("task_id") if isinstance(said, dict) else None
    return task_id if isinstance(task_id, str) and TASK_ID.fullmatch(task_id) else None


def _nothing_here() -> Response:
    return PlainTextResponse("Not Found", status_code=404)


def _hmac(key: bytes, generation_id: str) -> str:
    return hmac.new(key, generation_id.encode(errors="replace"), hashlib.sha256).hexdigest()


def _kept_key(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(secrets.token_hex(32).encode())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(part, path)  # of several processes that start together, one wins
    except FileExistsError:
        pass
    finally:
        part.unlink()
    return path.read_bytes()
