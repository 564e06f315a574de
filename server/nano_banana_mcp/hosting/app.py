"""The ASGI application: ``/mcp``, ``/healthz``, ``/readyz`` and ``/metrics``, for uvicorn or any other ASGI server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nano_banana_mcp import __version__
from nano_banana_mcp.app import build_server
from nano_banana_mcp.hosting import metrics
from nano_banana_mcp.hosting.accounts import accounts_by
from nano_banana_mcp.hosting.auth import Authentication, is_authenticated, open_authentication
from nano_banana_mcp.hosting.binds import NamedHosts, allowed_names
from nano_banana_mcp.hosting.guest import answer_only_this_machine, drain_at_the_end
from nano_banana_mcp.hosting.request_ids import RequestIds
from nano_banana_mcp.hosting.sessions import SessionLimit
from nano_banana_mcp.hosting.turns import Turns
from nano_banana_mcp.hosting.webhook import PATH, open_key_ring, receiver
from nano_banana_mcp.logs import set_up_as_guest
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

        def address_of(intent_id: str) -> str:
            return f"{root}/{intent_id}/{keys.sign(intent_id)}"

        server = build_server(settings, address_of, accounts, care=True, telemetry=counts)
        server.custom_route(PATH, methods=_ALL)(receiver(server, keys, counts))
    server.custom_route("/healthz", methods=["GET"])(_alive)
    named = NamedHosts(allowed_names(settings))
    server.custom_route("/readyz", methods=["GET"])(named.guarded(_readiness(server)))
    server.custom_route(metrics.PATH, methods=["GET"])(named.guarded(counts.endpoint))
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
