"""The ASGI application: ``/mcp``, ``/healthz`` and ``/readyz``, for uvicorn or any other ASGI server."""

from __future__ import annotations

from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from nano_banana_mcp import __version__
from nano_banana_mcp.app import build_server
from nano_banana_mcp.hosting.webhook import PATH, open_key_ring, receiver
from nano_banana_mcp.settings import Settings, load_settings
from nano_banana_mcp.urls import LOOPBACK_HOSTS
from nano_banana_tools.server import ImageServer


def create_app(settings: Settings | None = None) -> Starlette:
    """The application by ``settings``, or by the environment.

    Raises:
        SettingsError: the environment has a value that cannot be used.
        OSError, LedgerError: the key of the webhook cannot be kept.
    """
    return application(settings or load_settings())[0]


def application(settings: Settings) -> tuple[Starlette, ImageServer]:
    """The application, and the server in it."""
    if settings.public_url is None:
        server = build_server(settings)
    else:
        keys = open_key_ring(settings)
        root = f"{settings.public_url}/webhooks"
        server = build_server(settings, lambda intent_id: f"{root}/{intent_id}/{keys.sign(intent_id)}")
        server.custom_route(PATH, methods=["POST"])(receiver(server, keys))
    server.custom_route("/healthz", methods=["GET"])(_alive)
    server.custom_route("/readyz", methods=["GET"])(_readiness(server))
    app = server.streamable_http_app(
        host=settings.host,
        max_request_body_size=round(settings.max_request_megabytes * 1024 * 1024),
        max_sessions=settings.max_sessions,
        transport_security=_allowed_names(settings),
    )
    return app, server


async def _alive(_: Request) -> Response:
    return JSONResponse({"status": "ok", "version": __version__})


def _readiness(server: ImageServer):  # type: ignore[no-untyped-def]  # Starlette's endpoint type is private
    async def ready(_: Request) -> Response:
        problem = await server.not_ready()
        if problem is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "problem": problem}, status_code=503)

    return ready


def _allowed_names(settings: Settings) -> TransportSecuritySettings:
    """The Host and Origin headers that are answered: without this, any web page could talk to a server on loopback."""
    names = [*sorted(LOOPBACK_HOSTS - {"::1"}), "[::1]"]
    return TransportSecuritySettings(
        allowed_hosts=[*names, *(f"{name}:*" for name in names), *settings.allowed_host_names],
        allowed_origins=[
            *(f"http://{name}{port}" for name in names for port in ("", ":*")),
            *(f"https://{name}" for name in settings.allowed_host_names),
        ],
    )
