"""Helpers for tests of identity: tokens of named principals, clients with a token, raw requests, recorded egress."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nano_banana_mcp.http.auth.users_file import HashedToken, Principal, digest, edited, new_token
from nano_banana_sandbox.app import create_app
from nano_banana_sandbox.sandbox import Sandbox
from tests.support.sandbox import plain_config
from tests.support.serving import listening, serving

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For httpx2 without trust_env, which would load the system's certificates for each client anew."""
ACCEPT = {"Accept": "application/json, text/event-stream"}
REFUSED = {"error": "invalid_token", "error_description": "Authentication required"}
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "generate_image", "arguments": {"prompt": "a cat"}},
}


def grant(file: Path, name: str, **more: Any) -> str:
    """A new token of this principal."""
    token = new_token()
    with edited(file) as document:
        principal = document.principals.setdefault(name, Principal(**more))
        principal.tokens.append(HashedToken(sha256=digest(token)))
    return token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def post(url: str, token: str | None, body: Any = CALL, **headers: str) -> httpx.Response:
    """One raw request, as from a client that checks nothing."""
    all_headers = {**ACCEPT, **({} if token is None else bearer(token)), **headers}
    return httpx.post(url, json=body, headers=all_headers, trust_env=False, timeout=30)


@asynccontextmanager
async def client_with(
    url: str,
    mode: Any = "auto",
    *,
    token: str = "",
    auth: Any = None,
    message_handler: Any = None,
    elicitation_callback: Any = None,
    extensions: Any = None,
) -> AsyncIterator[Client]:
    """The SDK's client, with this token or what `auth` gets for itself."""
    async with (
        httpx2.AsyncClient(
            headers=bearer(token) if token else {}, auth=auth, timeout=30, trust_env=False, verify=NO_TLS
        ) as http,
        Client(
            streamable_http_client(url, http_client=http),
            mode=mode,
            message_handler=message_handler,
            elicitation_callback=elicitation_callback,
            extensions=extensions,
        ) as client,
    ):
        yield client


class Egress:
    """Every byte that reached the image API."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.requests: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = [scope["raw_path"], scope["query_string"], *(b": ".join(header) for header in scope["headers"])]
        number = len(self.requests)
        self.requests.append(b"\n".join(head))

        async def recorded() -> Message:
            message = await receive()
            self.requests[number] += message.get("body", b"")
            return message

        await self._app(scope, recorded, send)

    def keys(self) -> Iterator[str]:
        """The keys that came with the requests."""
        for request in self.requests:
            for line in request.splitlines():
                if line.startswith(b"authorization: "):
                    yield line.decode().removeprefix("authorization: Bearer ")


@asynccontextmanager
async def watched_sandbox() -> AsyncIterator[tuple[Sandbox, Egress]]:
    """A sandbox that lets one see all that it is sent."""
    with listening() as (listener, url):
        sandbox = Sandbox(plain_config(seconds=0), url)
        egress = Egress(create_app(sandbox))
        async with serving(egress, listener):
            yield sandbox, egress
