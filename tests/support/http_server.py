"""`serve --http`: in a thread of the test's process, or as a process where signals, output or kills are tested."""

from __future__ import annotations

import argparse
import functools
import os
import re
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import anyio
import anyio.to_thread
from mcp.client import Client

from nano_banana_mcp.cli import build_parser
from nano_banana_mcp.http.app import build_application
from nano_banana_mcp.http.auth.bind_policy import check_bind
from nano_banana_mcp.http.connections import LimitedConnection
from nano_banana_mcp.http.server import HttpServer, listen_urls, listeners
from nano_banana_mcp.settings import Settings, load_settings
from nano_banana_mcp.tracking.schedule import Schedule
from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.sandbox import Sandbox
from nano_banana_sandbox.server import serve_sandbox
from tests.support.clients import KEY, WITHOUT_PAUSES, child, facts


@dataclass
class Served:
    """A server in this process."""

    url: str
    warnings: list[str] = field(default_factory=list)

    @property
    def root(self) -> str:
        """Its URL without the path."""
        return self.url.removesuffix("/mcp")

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.root.rpartition(":")[2])


@dataclass
class ServedProcess(Served):
    """A server process."""

    process: subprocess.Popen[Any] = field(kw_only=True)


def at(url: str, **settings: Any) -> dict[str, Any]:
    """Settings of a server that talks to the API at ``url``."""
    return {"DEFAPI_BASE_URL": url, "DEFAPI_API_KEY": KEY, **settings}


def settings_of(*arguments: str, **variables: Any) -> Settings:
    """The settings that the command line ``serve --http`` and these environment variables give."""
    options = _parser().parse_args(["serve", "--http", *arguments])
    overrides = {name: getattr(options, name) for name in ("sandbox", *options.overrides)}
    environment = {"NANO_BANANA_PORT": "0", **{name: str(value) for name, value in variables.items()}}
    with mock.patch.dict(os.environ, environment):
        return load_settings(**{name: value for name, value in overrides.items() if value not in (None, False)})


@functools.cache
def _parser() -> argparse.ArgumentParser:
    return build_parser()


def served(
    *arguments: str,
    protocol: type[LimitedConnection] = LimitedConnection,
    schedule: Schedule | None = WITHOUT_PAUSES,
    **settings: Any,
) -> ServerThread:
    """A server in a thread.

    Args:
        arguments: Of ``serve --http``.
        protocol: Has the limits of connections.
        schedule: When the API is queried; None: as in a server process.
        settings: Environment variables.
    """
    return ServerThread(settings_of(*arguments, **settings), protocol, schedule)


class ServerThread:
    """A server in a thread with its own event loop; at the end, ``async with`` keeps the loop of the test free."""

    def __init__(self, settings: Settings, protocol: type[LimitedConnection], schedule: Schedule | None) -> None:
        self._settings = settings
        self._protocol = protocol
        self._schedule = schedule

    def __enter__(self) -> Served:
        warnings = check_bind(self._settings)
        app, server = build_application(self._settings, schedule=self._schedule)
        self._listeners = listeners(self._settings)
        sockets = self._listeners.__enter__()
        [url, *_] = listen_urls(sockets)
        self._http = HttpServer(app, server.drain, self._protocol)
        self._http.config.timeout_graceful_shutdown = 2
        self._thread = threading.Thread(target=anyio.run, args=[self._http.serve, sockets], name="served")
        self._thread.start()
        while not self._http.started:
            assert self._thread.is_alive(), "the server did not start"
            self._thread.join(0.005)
        return Served(url, warnings)

    def __exit__(self, *_: object) -> None:
        self._http.should_exit = True
        self._thread.join()
        self._listeners.__exit__(None, None, None)

    async def __aenter__(self) -> Served:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.__exit__)


@contextmanager
def served_process(*arguments: str, **settings: Any) -> Iterator[ServedProcess]:
    """A server process, killed at the end of the block."""
    parameters = child("serve", "--http", "--port", "0", *arguments, **settings)
    with subprocess.Popen(
        [parameters.command, *parameters.args],
        env=parameters.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        match = re.search(rb"http://\S+/mcp", process.stderr.readline())
        assert match
        try:
            yield ServedProcess(match[0].decode(), process=process)
        finally:
            process.kill()


def free_port() -> int:
    """A port that is free, and that the system chooses for no other socket in the next minute.

    A connection that the side of this port has closed keeps it in TIME_WAIT; a listener may take it all the same.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address):
            listener.accept()[0].close()
    return int(address[1])


@asynccontextmanager
async def reachable(
    config: SandboxConfig, schedule: Schedule | None = None, **settings: Any
) -> AsyncIterator[tuple[Sandbox, Served, Client]]:
    """A server that the sandbox can call back, and a client of it."""
    port = free_port()
    async with serve_sandbox(config) as sandbox:
        values = at(sandbox.url, NANO_BANANA_PUBLIC_URL=f"http://127.0.0.1:{port}", **settings)
        async with served("--port", str(port), schedule=schedule, **values) as server, Client(server.url) as client:
            yield sandbox, server, client


@asynccontextmanager
async def reachable_process(config: SandboxConfig) -> AsyncIterator[tuple[Sandbox, ServedProcess, Client]]:
    """As :func:`reachable`, with a server process."""
    port = free_port()
    async with serve_sandbox(config) as sandbox:
        values = at(sandbox.url, NANO_BANANA_PUBLIC_URL=f"http://127.0.0.1:{port}")
        with served_process("--port", str(port), **values) as server:
            async with Client(server.url) as client:
                yield sandbox, server, client


async def make(client: Client, prompt: str = "a cat") -> str:
    """Submit an image. Returns the task id."""
    task_id: str = facts(await client.call_tool("generate_image", {"prompt": prompt}))["task_id"]
    return task_id
