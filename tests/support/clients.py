"""Real clients of the real server: in this process, or over stdio to a child process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mcp.client import Client
from mcp.client.extension import ClientExtension
from mcp.client.stdio import StdioServerParameters
from mcp.types import CallToolResult, TextContent

from nano_banana_mcp.app import build_server
from nano_banana_mcp.settings import load_settings
from nano_banana_mcp.tracking.schedule import Schedule

KEY = "dk-canary-0123456789"

WITHOUT_PAUSES = Schedule(first=0.0, min_interval=0.05, max_backoff=0.05)
"""The pauses have tests of their own, on a virtual clock."""

NEVER_SECONDS = 36_000.0
"""Longer than any test."""

WITHOUT_QUERIES = Schedule(
    first=NEVER_SECONDS,
    min_interval=NEVER_SECONDS,
    max_interval=NEVER_SECONDS,
    safety_interval=NEVER_SECONDS,
    sweep_first=NEVER_SECONDS,
    sweep_first_with_callback=NEVER_SECONDS,
)
"""Only callbacks, notifications and ``get_task`` lead to queries."""


class AppsHost(ClientExtension):
    """What a client declares whose host shows MCP Apps."""

    identifier = "io.modelcontextprotocol/ui"

    def settings(self) -> dict[str, Any]:
        """See :class:`ClientExtension`."""
        return {"mimeTypes": ["text/html;profile=mcp-app"]}


def clean_environment() -> dict[str, str]:
    """This process's environment without any setting of the server, proxies or keyring."""

    def foreign(name: str) -> bool:
        return not name.startswith(("DEFAPI_", "NANO_BANANA_")) and "_proxy" not in name.lower()

    variables = {name: value for name, value in os.environ.items() if foreign(name)}
    return {**variables, "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}  # not the developer's own


def child(*arguments: str, **settings: Any) -> StdioServerParameters:
    """Start parameters of a server process; ``settings`` are environment variables."""
    environment = {**clean_environment(), **{name: str(value) for name, value in settings.items()}}
    return StdioServerParameters(command=sys.executable, args=["-m", "nano_banana_mcp", *arguments], env=environment)


@contextmanager
def spawned(*arguments: str, **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A process of the program, its output as text in pipes."""
    parameters = child(*arguments, **settings)
    with subprocess.Popen(
        [parameters.command, *parameters.args],
        env=parameters.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


def child_at(url: str, **settings: Any) -> StdioServerParameters:
    """Start parameters of a server process that talks to the API at ``url``."""
    return child(DEFAPI_BASE_URL=url, DEFAPI_API_KEY=KEY, **settings)


def client_at(
    url: str,
    *,
    mode: Any = "auto",
    message_handler: Any = None,
    elicitation_callback: Any = None,
    schedule: Schedule | None = None,
    **settings: Any,
) -> Client:
    """A client of a server in this process that talks to the API at ``url`` over real sockets."""
    values: dict[str, Any] = {"base_url": url, "api_key": KEY, **settings}
    return Client(
        build_server(load_settings(**values), schedule=schedule or WITHOUT_PAUSES),
        mode=mode,
        message_handler=message_handler,
        elicitation_callback=elicitation_callback,
    )


def facts(result: CallToolResult) -> dict[str, Any]:
    """The structured answer."""
    answer: dict[str, Any] | None = result.structured_content
    assert answer is not None, result.content
    return answer


def text(result: CallToolResult) -> str:
    """The text of a result."""
    return "\n".join(item.text for item in result.content if isinstance(item, TextContent))
