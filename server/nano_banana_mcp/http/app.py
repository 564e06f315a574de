"""The ASGI application: ``/mcp``, ``/healthz``, ``/readyz`` and ``/metrics``, for uvicorn or any other ASGI server."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nano_banana_mcp import __version__
from nano_banana_mcp.app import build_server, quotas
from nano_banana_mcp.common import logging as logs
from nano_banana_mcp.common.logging import set_up_as_guest
from nano_banana_mcp.generations.quotas import Accounts, Limits
from nano_banana_mcp.http import metrics
from nano_banana_mcp.http.auth.authentication import (
    Authentication,
    NamedHosts,
    allowed_names,
    is_authenticated,
    open_authentication,
)
from nano_banana_mcp.http.external_asgi import answer_only_this_machine, drain_at_the_end
from nano_banana_mcp.http.middleware.sessions import SessionLimit
from nano_banana_mcp.http.webhook import PATH, open_key_ring, receiver
from nano_banana_mcp.settings import Settings, load_settings
from nano_banana_tools.registry import tools
from nano_banana_tools.server import ImageServer

MCP_PATH = "/mcp"

_ALL = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
"""Methods of the webhook: a 405 would tell that there is something."""


def create_app(settings: Settings | None = None) -> Starlette:
    """The application by ``settings``, or by the environment, for an ASGI server that is not ours.

    It sets up logging, unless somebody has, and keeps secrets out of the ASGI server's own log. Where nobody is asked
    who they are, it answers only callers on this machine.

    Raises:
        SettingsError: the environment has a value that cannot be used.
        BadPrincipals: the file of tokens cannot be used.
        OSError, LedgerError: the key of the webhook cannot be kept.
    """
    settings = settings or load_settings()
    set_up_as_guest(settings.log_level, settings.log_format)
    app, server = application(settings)
    drain_at_the_end(app, server.drain)
    if not (is_authenticated(settings) or settings.allow_unauthenticated):
        answer_only_this_machine(app, MCP_PATH)
    return app


def application(settings: Settings) -> tuple[Starlette, ImageServer]:
    """The application, and the server in it."""
    authentication = open_authentication(settings)
    accounts = None if authentication is None else accounts_by(settings, authentication)
    counts = metrics.Metrics([settings.model], [tool.name for tool in tools()], lambda: server.problem)
    if settings.public_url is None:
        server = build_server(settings, accounts=accounts, care=True, telemetry=counts)
    else:
        keys = open_key_ring(settings)
        root = f"{settings.public_url}/webhooks"

        def address_of(generation_id: str) -> str:
            return f"{root}/{generation_id}/{keys.sign(generation_id)}"

        server = build_server(settings, address_of, accounts, care=True, telemetry=counts)
        server.custom_route(PATH, methods=_ALL)(receiver(server, keys, counts))
    server.custom_route("/healthz", methods=["GET"])(_alive)
    named = NamedHosts(allowed_names(settings))
    server.custom_route("/readyz", methods=["GET"])(named.supervise(_readiness(server)))
    server.custom_route(metrics.PATH, methods=["GET"])(named.supervise(counts.endpoint))
    app = server.streamable_http_app(
        streamable_http_path=MCP_PATH,
        host=settings.host,
        max_request_body_size=round(settings.max_request_megabytes * 1024 * 1024),
        max_sessions=settings.max_sessions,
        transport_security=allowed_names(settings),
    )
    app.router.redirect_slashes = False  # it would repeat whatever Host it is told
    if authentication is not None:
        _put_before_mcp(authentication, app, settings.caller_sessions)
    app.add_middleware(RequestIds)
    app.add_middleware(Turns)
    return app, server


def _put_before_mcp(authentication: Authentication, app: Starlette, most_sessions: int) -> None:
    """Only there: the webhook has a signature of its own, and health and metadata are for everyone."""
    routes = app.router.routes
    [place] = [number for number, route in enumerate(routes) if isinstance(route, Route) and route.path == MCP_PATH]
    unprotected = routes[place]
    assert isinstance(unprotected, Route)
    routes[place] = Route(MCP_PATH, authentication.protect(SessionLimit(unprotected.app, most_sessions)))
    routes.extend(authentication.routes)


async def _alive(_: Request) -> Response:
    return JSONResponse({"status": "ok", "version": __version__})


def _readiness(server: ImageServer) -> Callable[[Request], Awaitable[Response]]:
    async def ready(_: Request) -> Response:
        problem = await server.not_ready()
        if problem is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "problem": problem}, status_code=503)

    return ready


def accounts_by(settings: Settings, authentication: Authentication) -> Accounts:
    """The accounts of callers who are asked who they are."""

    def own(principal: str) -> Limits | None:
        said = authentication.limits_for(principal).model_dump(exclude_none=True)
        # What the file says of somebody counts as if the settings said it to them.
        return quotas(settings.model_copy(update=said), asked=True).limits_of(principal) if said else None

    return Accounts(asked=True, key_of=authentication.api_key_for, quotas=quotas(settings, asked=True, special=own))


AT_ONCE = 4
"""Requests that start in one round of the event loop. Each takes it a few milliseconds."""


class Turns:
    """Middleware: whole requests go on in the order in which they became whole; one without a body is not held back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._turns = anyio.Semaphore(AT_ONCE, fast_acquire=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def receive_in_turn() -> Message:
            message = await receive()
            # Not before: the bodies of a crowd arrive together as well.
            if message["type"] == "http.request" and not message.get("more_body", False):
                async with self._turns:
                    await anyio.lowlevel.checkpoint()
            return message

        # Whoever has gone before the request was whole gets no answer; it is no error of ours to be logged.
        with contextlib.suppress(ClientDisconnect):
            await self._app(scope, receive_in_turn, send)


HEADER = b"x-request-id"
_SANE = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RequestIds:
    """ASGI middleware. It passes every message on as it comes, so streams stay streams."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == HEADER), b"")
        request_id = given if _SANE.fullmatch(given) else uuid.uuid4().hex.encode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (HEADER, request_id)]}
            await send(message)

        with logs.about(request_id=request_id.decode()):
            await self._app(scope, receive, send_with_id)
