"""An issuer, a server process that trusts it, and all that the server sends to the image API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

from anyio.to_thread import run_sync as in_thread

from tests.support.authorization_server import (
    AuthorizationServer,
    serve_authorization,
)
from tests.support.handshake import INITIALIZE
from tests.support.http_server import Served, at, free_port, served
from tests.support.team import Egress, post, watched_sandbox


class Team:
    """An issuer, a server that trusts it, and what the server sends to the image API."""

    def __init__(self, issuer: AuthorizationServer, server: Served, egress: Egress) -> None:
        self.issuer, self.server, self.egress = issuer, server, egress
        self.url = self.audience = server.url

    def token(self, **changed: Any) -> str:
        """A token like the issuer's own, with these claims changed."""
        return self.issuer.sign(self.issuer.claims(self.audience, **changed))

    async def status(self, token: str) -> int:
        return (await in_thread(post, self.url, token, INITIALIZE)).status_code


@asynccontextmanager
async def team(
    path: str = "", serve: Callable[..., AbstractContextManager[Served]] = served, **settings: Any
) -> AsyncIterator[Team]:
    port = free_port()
    async with serve_authorization(path) as issuer, watched_sandbox() as (sandbox, egress):
        ours = {
            "NANO_BANANA_OAUTH_ISSUER": issuer.url,
            "NANO_BANANA_OAUTH_AUDIENCE": f"http://127.0.0.1:{port}/mcp",
            "NANO_BANANA_OAUTH_SCOPES": "pictures",
        }
        with serve("--port", str(port), **at(sandbox.url, **{**ours, **settings})) as server:
            yield Team(issuer, server, egress)
