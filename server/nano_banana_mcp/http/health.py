"""Health and readiness for load balancers and orchestrators."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from nano_banana_mcp import __version__
from nano_banana_tools.server import ImageServer


async def healthz(_: Request) -> Response:
    """Answer that the process is alive."""
    return JSONResponse({"status": "ok", "version": __version__})


class Readiness:
    """The endpoint ``/readyz``: 200 if images can be made and recorded, else 503 with the reason.

    Args:
        server: Checks the ledger.
        key_problem: Why no image can be paid for; None if there is a usable key.
    """

    def __init__(self, server: ImageServer, key_problem: str | None) -> None:
        self._server = server
        self._key_problem = key_problem

    async def readyz(self, _: Request) -> Response:
        """Answer one request."""
        problem = await self._server.not_ready() or self._key_problem
        if problem is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "problem": problem}, status_code=503)
