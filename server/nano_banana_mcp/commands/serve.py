"""``serve``, and the command without a name: the MCP server over stdio or HTTP."""

from __future__ import annotations

import argparse
import gc
import sys
from typing import Any

import anyio

from nano_banana_mcp.app import build_server, serve_stdio
from nano_banana_mcp.common.logging import configure_logging
from nano_banana_mcp.settings import Settings, SettingsError

FAILED = 1
USAGE_ERROR = 2


def add_arguments(commands: Any) -> None:
    """Add the command to the parser of the command line."""
    parser = commands.add_parser("serve", help="serve MCP over stdio (the default) or over HTTP")
    parser.add_argument("--http", action="store_true", help="serve streamable HTTP at /mcp")
    parser.add_argument("--host", help="address to listen on (default: NANO_BANANA_HOST)")
    parser.add_argument("--port", type=int, help="port to listen on (default: NANO_BANANA_PORT)")
    parser.add_argument(
        "--allow-unauthenticated",
        action="store_true",
        default=None,
        help="listen beyond this machine without authentication",
    )
    parser.set_defaults(run=run, overrides=("host", "port", "allow_unauthenticated"))


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Serve until the client or a signal ends it. Returns the exit code."""
    if getattr(arguments, "http", False):
        return _serve_http(settings)
    for name in getattr(arguments, "overrides", ()):
        if getattr(arguments, name) is not None:
            sys.stderr.write(f"nano-banana-mcp serve: --{name.replace('_', '-')} needs --http\n")
            return USAGE_ERROR
    server = build_server(settings, local=True)
    gc.freeze()  # what is imported stays: the collector need not scan it again
    configure_logging(settings.log_level, settings.log_format)
    anyio.run(serve_stdio, server)
    return 0


def _serve_http(settings: Settings) -> int:
    # Over stdio no part of the HTTP server is imported.
    from nano_banana_mcp.http.auth.authentication import BindRefused
    from nano_banana_mcp.http.auth.users_file import BadPrincipals
    from nano_banana_mcp.http.server import serve_http
    from nano_banana_mcp.ledger.base import LedgerError

    configure_logging(settings.log_level, settings.log_format)
    try:
        serve_http(settings)
    except LedgerError as error:
        sys.stderr.write(f"nano-banana-mcp: {error.for_operator}\n")
        return FAILED
    except (BindRefused, BadPrincipals, SettingsError, OSError) as error:
        sys.stderr.write(f"nano-banana-mcp: {error}\n")
        return FAILED
    return 0
