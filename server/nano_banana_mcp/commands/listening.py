"""Ports and addresses that commands listen on: a checked ``--port``, and what to do where listening fails."""

from __future__ import annotations

import argparse
import errno
import socket

from nano_banana_mcp.common.files import reason_of
from nano_banana_mcp.common.text import sentence

MAX_PORT = 65_535

_NAME_ERRORS = {socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL}


def port_number(text: str) -> int:
    """The port that an argument names, 0 to 65535.

    Raises:
        argparse.ArgumentTypeError: It is no port.
    """
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port. Choose a number from 0 to {MAX_PORT}")
    return port


def listen_problem(error: OSError, *, port: str, host: str = "") -> str:
    """Why a command cannot listen, and what to do.

    Args:
        error: Its text begins with the address.
        port: Names of the option and the setting of the port.
        host: Names of the option and the setting of the address; empty without any.
    """
    reason = sentence(reason_of(error).split(" (while attempting to bind", 1)[0])
    if error.errno == errno.EADDRINUSE:
        return f"{reason} Another program uses it: choose another with {port}."
    if error.errno == errno.EACCES:
        return f"{reason} This user may not use this port: choose one above 1023 with {port}."
    if host and error.errno == errno.EADDRNOTAVAIL:
        return f"{reason} This machine does not have this address: choose another with {host}."
    if host and error.errno in _NAME_ERRORS:
        return f"{reason} The name cannot be resolved: choose another with {host}."
    return reason
