from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from nano_banana_sandbox.server import SandboxConfig, serve_sandbox
from tests.support.sandbox_driver import Driver, Serve


@pytest.fixture
def serve() -> Serve:
    """A factory, so that each test owns its `async with`. Its images are plain where nothing else is asked for."""

    @asynccontextmanager
    async def serving(directives: str = "", **settings: Any) -> AsyncIterator[Driver]:
        config = SandboxConfig(directives=directives, **{"art": "plain", **settings})
        async with (
            serve_sandbox(config) as sandbox,
            httpx.AsyncClient(base_url=sandbox.url, timeout=60, trust_env=False, verify=False) as client,
        ):
            yield Driver(sandbox, client)

    return serving
