"""``sandbox``: the stand-in for the image API as a server of its own."""

from __future__ import annotations

import argparse
import sys

import anyio

from nano_banana_mcp.commands.console import refuse
from nano_banana_mcp.commands.listening import listen_problem, port_number
from nano_banana_mcp.settings import Settings
from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.faults import DirectiveError
from nano_banana_sandbox.server import run_sandbox


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=port_number, default=8765, help="port to listen on, 0 for any (default: 8765)")
    parser.add_argument(
        "--directives", default="", metavar="WORDS", help='faults for every task, e.g. "submit=503*2 result=many"'
    )
    parser.set_defaults(run=run)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Serve until interrupted. Returns the exit code."""
    try:
        config = SandboxConfig(seconds=settings.sandbox_seconds, directives=arguments.directives)
        anyio.run(lambda: run_sandbox(config, arguments.host, arguments.port, announce=_announce))
    except OSError as error:
        return refuse("sandbox", listen_problem(error, port="--port", host="--host"))
    except DirectiveError as error:
        return refuse("sandbox", error)
    return 0


def _announce(url: str) -> None:
    sys.stdout.write(
        f"The sandbox listens on {url} (nothing is charged). Use it with\n"
        f"  DEFAPI_BASE_URL={url} DEFAPI_API_KEY=dk-sandbox nano-banana-mcp\n"
        f"Requests so far: {url}/_sandbox/stats and {url}/_sandbox/tasks. Press Ctrl-C to stop.\n"
    )
    sys.stdout.flush()
