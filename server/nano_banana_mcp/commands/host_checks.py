"""Whether the entries of hosts work: each is started or called as its host would, and must answer the handshake."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TextIO, cast

import anyio
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError
from pydantic import SecretStr

from nano_banana_mcp.commands.console import key_advice, printable
from nano_banana_mcp.commands.findings import Finding
from nano_banana_mcp.commands.remote_checks import check_remote_entry, is_remote_entry
from nano_banana_mcp.common.files import reason_of
from nano_banana_mcp.common.gather import gather
from nano_banana_mcp.common.key_store import stored_key
from nano_banana_mcp.install.config_file import read_config
from nano_banana_mcp.install.entry import MAX_BYTES, entries
from nano_banana_mcp.install.errors import Refused
from nano_banana_mcp.install.hosts import HOSTS, KEY, START_SECONDS, Host
from nano_banana_mcp.install.launch import Launch, is_ours, launch_of
from nano_banana_mcp.install.paths import Machine
from nano_banana_mcp.settings import Settings, misspelt_variables

_ON = ("1", "true", "yes", "on")
MAX_ERROR_BYTES = 2_000
"""Of the end of what a server writes to stderr; the last line says why it ended."""


async def check_hosts() -> list[Finding]:
    """Start every entry of this program in the configurations of this user's hosts, and call the remote ones."""
    try:
        machine = Machine.here()
    except Refused as error:
        return [Finding(False, "hosts", str(error))]
    findings: list[Finding] = []
    checks: list[Callable[[], Awaitable[Finding]]] = []
    for host in HOSTS.values():
        path = host.config_path(machine)
        try:
            servers = entries(host, read_config(path, MAX_BYTES[host.form]).text)
        except Refused as error:
            findings.append(Finding(False, host.title, f"{path}: {error}", "Correct the file: the host reads it, too."))
            continue
        for name, entry in servers.items():
            if is_ours(entry):
                checks.append(partial(check_entry, host, name, entry))
            elif is_remote_entry(name, entry):
                checks.append(partial(check_remote_entry, host, name, entry))
    if not (findings or checks):
        return [Finding(True, "hosts", "none is set up here; `nano-banana-mcp install HOST` adds the server to one")]
    return findings + await gather(checks)


async def check_entry(host: Host, name: str, entry: Any, *, timeout_seconds: float = START_SECONDS) -> Finding:
    """Start the server of an entry as the host would, and look at its key.

    Args:
        host: The host that has the entry.
        name: The name of the entry.
        entry: The entry, which starts this program.
        timeout_seconds: Maximum time until the server has answered.
    """
    launch = launch_in(host, entry)
    started_at = time.monotonic()
    problem = await start_problem(launch, timeout_seconds)
    if problem is not None:
        advice = f"Install it again: nano-banana-mcp install {host.id}"
        return Finding(False, host.title, f"“{name}” does not start: {problem}", advice)
    text = f"“{name}” starts in {time.monotonic() - started_at:.1f} s"
    if warnings := misspelt_variables(launch.environment):
        return Finding(False, host.title, f"{text}, but a setting is wrong: {' '.join(warnings)}")
    if no_key := await anyio.to_thread.run_sync(key_problem, host, launch):
        advice = f"{key_advice()} Or store it in the entry: nano-banana-mcp install {host.id} --store-key"
        return Finding(False, host.title, f"{text}, but it has no key: {no_key}", advice)
    return Finding(True, host.title, text)


def launch_in(host: Host, entry: Any) -> Launch:
    """What the host starts for an entry of this program, with the variables of this process."""
    launch = launch_of(entry, None if host.reference is None else os.environ)
    assert launch is not None, "the entry starts this program"
    return launch


async def start_problem(launch: Launch, timeout_seconds: float = START_SECONDS) -> str | None:
    """Start the server, and do the handshake. Returns why that fails; None if it works."""
    logging.getLogger("mcp.client").setLevel(logging.CRITICAL)  # it would log wrong output of the server with a trace
    problem = None
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        server = StdioServerParameters(
            command=launch.program, args=list(launch.arguments), env=launch.environment, cwd=tempfile.gettempdir()
        )
        try:
            with anyio.fail_after(timeout_seconds):
                async with Client(stdio_client(server, errlog=cast("TextIO", log)), mode="legacy") as client:
                    await client.list_tools()
        except* TimeoutError:
            problem = f"no answer within {timeout_seconds:g} s"
        except* OSError as group:
            [error] = [error for error in group.exceptions if isinstance(error, OSError)][:1]
            problem = f"{launch.program}: {reason_of(error)}"
        except* (MCPError, ValueError, RuntimeError, anyio.ClosedResourceError, anyio.BrokenResourceError):
            problem = _last_line(log) or "it ended, or its answer was not MCP"
    return problem


def _last_line(log: Any) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - MAX_ERROR_BYTES))
    lines = [line for line in log.read().splitlines() if line.strip()]
    return printable(lines[-1]) if lines else ""


def key_problem(host: Host, launch: Launch) -> str | None:
    """Why the server of an entry has no key; None if it has one, gets one from the host, or needs none."""
    value = launch.environment.get(KEY)
    if value is None:
        is_sandbox = launch.environment.get("NANO_BANANA_SANDBOX", "").lower() in _ON
        if is_sandbox or not {"--sandbox", "--env-file"}.isdisjoint(launch.arguments) or stored_key() is not None:
            return None
        if host.reference is None:
            return "neither the entry nor the keyring has one"
        return None if os.environ.get(KEY) else f"{KEY} is not set here"  # these hosts pass their variables on
    if value.startswith("${input:") or (host.fills_in_itself and "$" in value):
        return None
    if host.reference is not None and value == host.reference.format(KEY):
        return f"{KEY}, which {host.title} reads, is not set here"
    return Settings.model_construct(api_key=SecretStr(value)).key_problem
