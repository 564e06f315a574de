"""The ASGI application: ``/mcp``, the webhook, ``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import logging
from functools import partial
from urllib.parse import urlsplit

from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from nano_banana_mcp import views
from nano_banana_mcp.app import build_server, quotas
from nano_banana_mcp.common.logging import configure_host_logging
from nano_banana_mcp.common.urls import LOOPBACK_HOSTS
from nano_banana_mcp.generations.quotas import Callers, Limits
from nano_banana_mcp.generations.uploads import UploadRequest
from nano_banana_mcp.http import metrics
from nano_banana_mcp.http.auth.authentication import Authentication, open_authentication
from nano_banana_mcp.http.auth.bind_policy import is_authenticated
from nano_banana_mcp.http.external_asgi import LoopbackOnly
from nano_banana_mcp.http.health import Readiness, healthz
from nano_banana_mcp.http.middleware.body_limits import BodyLimits
from nano_banana_mcp.http.middleware.client_disconnects import IgnoreClientDisconnects
from nano_banana_mcp.http.middleware.cors import AllowedOrigins
from nano_banana_mcp.http.middleware.host_names import CheckHostNames, allowed_host_names
from nano_banana_mcp.http.middleware.protocol_headers import ProtocolHeaders
from nano_banana_mcp.http.middleware.request_ids import RequestIds
from nano_banana_mcp.http.middleware.trailing_slash import TrailingSlash
from nano_banana_mcp.http.signing import CallbackUrls, SharedStateCodec, open_key_ring
from nano_banana_mcp.http.webhook import Webhook
from nano_banana_mcp.images.public_urls import origin_of
from nano_banana_mcp.settings import Settings, load_settings, misspelt_variables
from nano_banana_mcp.storage import check_ledger
from nano_banana_mcp.tracking.schedule import Schedule
from nano_banana_mcp.upload_page.endpoint import PATH, UploadPage
from nano_banana_tools.registry import tools
from nano_banana_tools.server import ImageServer

logger = logging.getLogger(__name__)

MCP_PATH = "/mcp"
ICON_PATH = "/icon.png"


def create_app(settings: Settings | None = None) -> Starlette:
    """The application for another ASGI server (``uvicorn --factory``). ``serve --http`` is the better choice: it
    also answers waiting calls before it stops and limits connections.

    Sets up logging unless the host has, and keeps secrets out of the host's own log. Without authentication, only
    callers on this machine are answered.

    Args:
        settings: None to read them from the environment.

    Raises:
        SettingsError: a setting cannot be used.
        BadPrincipals: the tokens file cannot be used.
        OSError: the webhook's key cannot be stored.
        LedgerError: the ledger cannot be used.
    """
    settings = settings or load_settings()
    configure_host_logging(settings.log_level, settings.log_format)
    for warning in misspelt_variables():
        logger.warning(warning)
    app, _ = build_application(
        settings, loopback_only=not (is_authenticated(settings) or settings.allow_unauthenticated)
    )
    return app


def build_application(
    settings: Settings, *, loopback_only: bool = False, schedule: Schedule | None = None
) -> tuple[Starlette, ImageServer]:
    """The application, and the server in it.

    Args:
        settings: What to serve, and to whom.
        loopback_only: Whether ``/mcp`` answers only callers on this machine.
        schedule: When the API is queried.

    Raises:
        SettingsError: a setting cannot be used.
        BadPrincipals: the tokens file cannot be used.
        OSError: the webhook's key cannot be stored.
        LedgerError: the ledger cannot be used.
    """
    host_names = allowed_host_names(settings)
    authentication = open_authentication(settings)
    check_ledger(settings)
    callers = None if authentication is None else callers_of(settings, authentication)
    counts = metrics.Metrics([settings.model], [tool.name for tool in tools()], lambda: server.problem)
    key_ring = callback_for = icon_url = None
    if settings.public_url is not None:
        key_ring = open_key_ring(settings)
        callback_for = CallbackUrls(settings.public_url, key_ring).url_for
        icon_url = f"{settings.public_url}{ICON_PATH}"
    server = build_server(
        settings,
        callback_for=callback_for,
        callers=callers,
        sweeps_open_tasks=True,
        uploads_at=partial(_uploads_at, settings.public_url),
        icon_url=icon_url,
        instrumentation=counts,
        schedule=schedule,
        state_codec=SharedStateCodec(settings),
    )
    routes = [] if key_ring is None else [Webhook(server, key_ring, counts).route, Route(ICON_PATH, icon)]
    has_keys = settings.sandbox or (authentication is not None and authentication.has_api_keys)
    readiness = Readiness(server, None if has_keys else settings.key_problem)
    routes += [
        Route("/healthz", healthz),
        Route(
            PATH,
            UploadPage(
                lambda: server.service.uploads,
                host_names.allows_host,
                [] if settings.public_url is None else [origin_of(settings.public_url)],
                None if authentication is None else authentication.principal_of,
            ),
        ),
        *(
            Route(path, CheckHostNames(Route(path, endpoint).app, host_names, internal=True), methods=["GET"])
            for path, endpoint in (("/readyz", readiness.readyz), (metrics.PATH, counts.endpoint))
        ),
    ]
    max_body_bytes = round(settings.max_request_megabytes * 1024 * 1024)
    app = server.streamable_http_app(
        streamable_http_path=MCP_PATH,
        host=settings.listen_addresses[0],
        max_request_body_size=max_body_bytes,
        # CheckHostNames does this for all addresses, in any case and on any port.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    app.router.redirect_slashes = False  # a redirect would repeat the request's Host
    [mcp_route] = [route for route in app.router.routes if isinstance(route, Route) and route.path == MCP_PATH]
    mcp: ASGIApp = BodyLimits(
        ProtocolHeaders(mcp_route.app), max_body_bytes, quotas(settings) if callers is None else callers.quotas
    )
    if authentication is not None:
        mcp = authentication.protect(mcp)
        routes += authentication.routes
    mcp = CheckHostNames(AllowedOrigins(mcp, host_names), host_names)
    if loopback_only:
        mcp = LoopbackOnly(mcp)
    app.router.routes[:] = [
        *routes,
        *(Route(MCP_PATH, mcp) if route is mcp_route else route for route in app.router.routes),
    ]
    app.add_middleware(TrailingSlash, path=MCP_PATH)
    app.add_middleware(RequestIds)
    app.add_middleware(IgnoreClientDisconnects)
    return app, server


async def icon(_: Request) -> Response:
    """The server's icon, which clients show beside its name."""
    return FileResponse(views.ICON, media_type="image/png", headers={"Cache-Control": "public, max-age=86400"})


async def _uploads_at(public_url: str | None, request: UploadRequest, host: str | None) -> str | None:
    """Where the upload page is served: at the public URL; without one, only callers on this machine reach it."""
    if public_url is not None:
        return public_url
    name = urlsplit(f"//{host}").hostname if host else None
    return f"http://{host}" if name in LOOPBACK_HOSTS else None


def callers_of(settings: Settings, authentication: Authentication) -> Callers:
    """The keys and limits of authenticated callers."""

    def own_limits(principal: str) -> Limits | None:
        limits = authentication.limits_for(principal).model_dump(exclude_none=True)
        # A limit in the tokens file replaces the one of the settings.
        return quotas(settings.model_copy(update=limits), authenticated=True).limits_of(principal) if limits else None

    return Callers(
        authenticated=True,
        key_of=authentication.api_key_for,
        quotas=quotas(settings, authenticated=True, own_limits=own_limits),
        confirms=lambda: settings.confirm_above is not None or authentication.has_confirm,
    )
