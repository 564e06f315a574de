"""``sandbox``: the stand-in for the image API, alone."""

from __future__ import annotations

import sys

import anyio

from nano_banana_mcp.settings import Settings


def run(settings: Settings, host: str, port: int, directives: str) -> int:
    """Serve until interrupted. Returns the exit code."""
    from nano_banana_mcp.sandbox.config import SandboxConfig
    from nano_banana_mcp.sandbox.faults import DirectiveError
    from nano_banana_mcp.sandbox.server import run_sandbox

    def announce(url: str) -> None:
        sys.stdout.write(
            f"The sandbox listens on {url} (nothing is charged). Use it with\n"
            f"  DEFAPI_BASE_URL={url} DEFAPI_API_KEY=dk-sandbox nano-banana-mcp\n"
            f"What it was asked for: {url}/_sandbox/stats and /_sandbox/tasks. Ctrl-C ends it.\n"
        )
        sys.stdout.flush()

    try:
        config = SandboxConfig(seconds=settings.sandbox_seconds, directives=directives)
        anyio.run(lambda: run_sandbox(config, host, port, announce=announce))
    except (OSError, DirectiveError, OverflowError) as error:
        sys.stderr.write(f"nano-banana-mcp sandbox: {error}\n")
        return 1
    return 0
