"""``serve``: the MCP server over HTTP; without ``--http``, ``cli`` starts it over stdio."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Any

from nano_banana_mcp.commands.listening import listen_problem, port_number
from nano_banana_mcp.common.logging import configure_logging
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.settings import Settings, SettingsError, misspelt_variables

logger = logging.getLogger(__name__)

FAILED = 1
WRONG_SETTING = 2
"""A start that no repetition can mend; the systemd unit does not restart after it."""


class _AddAddress(argparse.Action):
    """Joins repeated addresses as NANO_BANANA_HOST has them."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        earlier = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, f"{earlier},{values}" if earlier else values)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument(
        "--http", dest="run", action="store_const", const=run, default=None, help="serve streamable HTTP at /mcp"
    )
    parser.add_argument(
        "--host", action=_AddAddress, help="address to listen on, repeatable (default: NANO_BANANA_HOST)"
    )
    parser.add_argument("--port", type=port_number, help="port to listen on (default: NANO_BANANA_PORT)")
    parser.add_argument(
        "--allow-unauthenticated",
        action="store_true",
        default=None,
        help="listen beyond this machine without authentication",
    )
    parser.set_defaults(overrides=("host", "port", "allow_unauthenticated"))


def run(settings: Settings, _: argparse.Namespace) -> int:
    """Serve over HTTP until a signal ends it. Returns the exit code."""
    # Over stdio no part of the HTTP server is imported.
    from nano_banana_mcp.http.auth.bind_policy import BindRefused
    from nano_banana_mcp.http.auth.users_file import BadPrincipals
    from nano_banana_mcp.http.server import serve_http

    configure_logging(settings.log_level, settings.log_format)
    for warning in misspelt_variables():
        logger.warning(warning)
    try:
        serve_http(settings)
    except LedgerError as error:
        sys.stderr.write(f"nano-banana-mcp: {error.for_operator}\n")
        return FAILED
    except (BindRefused, BadPrincipals, SettingsError) as error:
        sys.stderr.write(f"nano-banana-mcp: {error}\n")
        return WRONG_SETTING
    except OSError as error:  # such as a port in use: another process may free it
        problem = listen_problem(error, port="--port or NANO_BANANA_PORT", host="--host or NANO_BANANA_HOST")
        sys.stderr.write(f"nano-banana-mcp: {problem}\n")
        return FAILED
    return 0
