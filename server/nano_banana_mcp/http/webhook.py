"""Receives the API's callbacks. A callback is only a hint to query the API: nothing else in it is believed.

The signature in the address is verified before anything is read. Every request that is not a valid callback gets the
same 404.
"""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from nano_banana_mcp.defapi.schemas import TASK_ID, unwrap
from nano_banana_mcp.generations.instrumentation import NO_INSTRUMENTATION, Instrumentation
from nano_banana_mcp.http.signing import PROBE_PREFIX, WEBHOOK_PATH, KeyRing, answer_to
from nano_banana_mcp.ledger.base import LedgerBusy
from nano_banana_tools.server import ImageServer

MAX_BODY_BYTES = 48 * 1024 * 1024
"""Room for one large image as a data URI. Only callers with a valid signature get this far."""

MAX_READ_SECONDS = 30.0

_LARGE_BODY_BYTES = 256 * 1024
"""Bodies above this size are parsed in a worker thread."""


class BodyTooLarge(Exception):
    """The callback's body exceeds :data:`MAX_BODY_BYTES`."""


class Webhook:
    """The endpoint for :data:`~nano_banana_mcp.http.signing.WEBHOOK_PATH`.

    Args:
        server: Refreshes the generation that a callback is about.
        key_ring: Verifies the signatures.
        instrumentation: Counts the callbacks.
    """

    def __init__(
        self, server: ImageServer, key_ring: KeyRing, instrumentation: Instrumentation = NO_INSTRUMENTATION
    ) -> None:
        self._server = server
        self._key_ring = key_ring
        self._instrumentation = instrumentation

    @property
    def route(self) -> Route:
        """The route to this endpoint, with any method: a 405 would reveal that there is an endpoint."""
        route = Route(WEBHOOK_PATH, self.receive)
        route.methods = set()
        return route

    async def receive(self, request: Request) -> Response:
        """Answer one request."""
        generation_id = request.path_params["intent_id"]
        if request.method != "POST" or not self._key_ring.accepts(generation_id, request.path_params["signature"]):
            return self._refuse()
        if generation_id.startswith(PROBE_PREFIX):
            return PlainTextResponse(answer_to(generation_id, self._key_ring))
        try:
            task_id = await _read_task_id(request)
        except BodyTooLarge:
            self._instrumentation.called_back(None, "too_large")
            return Response(status_code=413)
        if task_id is None:
            return self._refuse()
        try:
            is_accepted = await self._server.called_back(generation_id, task_id)
        except LedgerBusy:
            return Response(status_code=503)  # the signature is valid, so the API may try again
        return Response(status_code=204) if is_accepted else self._refuse()

    def _refuse(self) -> Response:
        self._instrumentation.called_back(None, "refused")
        return PlainTextResponse("Not Found", status_code=404)


async def _read_task_id(request: Request) -> str | None:
    """The task id in the body; None without one.

    Raises:
        BodyTooLarge: the body exceeds :data:`MAX_BODY_BYTES`.
    """
    body = bytearray()
    try:
        with anyio.fail_after(MAX_READ_SECONDS):
            async with aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        raise BodyTooLarge
    except (ClientDisconnect, TimeoutError):
        return None
    if len(body) > _LARGE_BODY_BYTES:
        return await anyio.to_thread.run_sync(_parse_task_id, bytes(body))
    return _parse_task_id(bytes(body))


def _parse_task_id(body: bytes) -> str | None:
    try:
        callback: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(callback, dict):
        return None
    task_ids = (part.get("task_id") for part in (callback, unwrap(callback)))  # plain, or as the answer to a query
    return next((item for item in task_ids if isinstance(item, str) and TASK_ID.fullmatch(item)), None)
