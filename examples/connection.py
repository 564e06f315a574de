"""How the examples reach the server: as a child process over stdio, on the sandbox where no key is set."""

import os
import sys

from mcp.client.stdio import StdioServerParameters


def server() -> StdioServerParameters:
    """Start parameters of the server in this very environment."""
    on_sandbox = [] if os.environ.get("DEFAPI_API_KEY") else ["--sandbox"]
    return StdioServerParameters(
        command=sys.executable, args=["-P", "-m", "nano_banana_mcp", *on_sandbox], env=dict(os.environ)
    )
