"""Where everything meets: settings in, a server out."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar
from urllib.parse import urlsplit

import anyio
from anyio.abc import TaskGroup
from pydantic import SecretStr

from nano_banana_mcp.common.urls import LOOPBACK_HOSTS
from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.generations.instrumentation import NO_INSTRUMENTATION, Instrumentation
from nano_banana_mcp.generations.quotas import Accounts, Limits, Quotas
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_mcp.service.references import LocalFolders
from nano_banana_mcp.settings import Settings
from nano_banana_mcp.storage import open_ledger
from nano_banana_tools.server import ImageServer
from nano_banana_tools.subscriptions import OwnedBus

Number = TypeVar("Number", int, Decimal)

SIGNAL_GRACE_SECONDS = 3.5
LAST_WRITE_SECONDS = 0.5
"""Hosts kill a server that has not gone some five seconds after their signal."""

SANDBOX_KEY = SecretStr("dk-sandbox")


def build_server(
    settings: Settings,
    callback_for: Callable[[str], str] | None = None,
    accounts: Accounts | None = None,
    *,
    care: bool = False,
    local: bool = False,
    telemetry: Instrumentation = NO_INSTRUMENTATION,
) -> ImageServer:
    """A server by ``settings``. Nothing is opened or sent before it serves.

    Args:
        callback_for: Where the API should tell of the end of an intent, if it should.
        accounts: Who may use what, where callers are asked who they are.
        care: Whether to ask about tasks that nobody waits for, too.
        local: Whether its callers are on this machine, as over stdio: only then may they name files.
        telemetry: Told what happens.
    """
    service = open_service(settings, callback_for, accounts, care=care, local=local, telemetry=telemetry)
    return ImageServer(service, OwnedBus(settings.max_sessions, settings.caller_sessions), telemetry)


async def serve_stdio(server: ImageServer) -> None:
    """Serve until stdin ends, or a signal comes; open submits are recorded first."""
    async with anyio.create_task_group() as tasks:
        if sys.platform != "win32":  # there the event loop takes no signal handlers
            tasks.start_soon(_exit_on_signal, server, tasks)
        await server.run_stdio_async()
        tasks.cancel_scope.cancel()


async def _exit_on_signal(server: ImageServer, tasks: TaskGroup) -> None:
    written = anyio.Event()

    async def write_down() -> None:
        await server.write_down()
        written.set()

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            with anyio.move_on_after(SIGNAL_GRACE_SECONDS):
                await server.settled()
            tasks.start_soon(write_down)  # not awaited itself: a write goes to its end, and the disk may be locked
            with anyio.move_on_after(LAST_WRITE_SECONDS):
                await written.wait()
            # The SDK's thread blocks in a read of stdin, which nothing can wake, and would keep the process alive.
            logging.shutdown()
            os._exit(128 + number)


@asynccontextmanager
async def open_service(
    settings: Settings,
    callback_for: Callable[[str], str] | None = None,
    accounts: Accounts | None = None,
    *,
    care: bool = False,
    local: bool = False,
    telemetry: Instrumentation = NO_INSTRUMENTATION,
) -> AsyncIterator[GenerationService]:
    """The studio by ``settings``: on the real API, or on a sandbox that lives as long as the block."""
    async with (
        reached_api(settings) as api,
        GenerationService.open(
            DefapiClient(
                api.base_url,
                api.key,
                key_problem=settings.key_problem,
                timeout_seconds=settings.timeout_seconds,
                concurrency=settings.upstream_concurrency,
                queries_per_second=settings.queries_per_second,
            ),
            open_ledger(settings, memory_fallback=local),
            trusted_origins=_trusted_origins(api.base_url),
            default_model=settings.model,
            api=api.name,
            callback_for=callback_for,
            accounts=accounts or Accounts(quotas=quotas(settings)),
            care=care,
            places=_places(settings, accounts, local=local),
            telemetry=telemetry,
        ) as service,
    ):
        service.album.keep_fetched(settings.state_path / "cache", round(settings.cache_megabytes * 1_000_000))
        yield service


def _places(settings: Settings, accounts: Accounts | None, *, local: bool) -> LocalFolders:
    asked = accounts is not None and accounts.asked
    open_to_others = settings.host not in LOOPBACK_HOSTS or settings.allowed_host_names or settings.public_url
    return LocalFolders(
        output=settings.output_dir,
        output_shown=local or not (asked or open_to_others),
        inputs=settings.input_folders if local else None,
        reference_side=settings.reference_max_side,
    )


def quotas(
    settings: Settings, *, asked: bool = False, special: Callable[[str], Limits | None] = lambda principal: None
) -> Quotas:
    """The limits by ``settings``.

    Args:
        asked: Whether callers are asked who they are: only then are there limits by default, for a team of fifty.
        special: A caller's own limits, where they have some.
    """

    def limit(value: Number | None, default: Number) -> Number | None:
        return (default if asked else None) if value is None else (value or None)

    each = Limits(
        limit(settings.calls_per_minute, 120),
        limit(settings.open_tasks, 20),
        limit(settings.credits_per_day, Decimal(50)),
    )
    overall = Limits(
        limit(settings.total_calls_per_minute, 3_000),
        limit(settings.total_open_tasks, 300),
        limit(settings.total_credits_per_day, Decimal(1_000)),
    )
    return Quotas(each, overall, special=special, clock=time.monotonic)


@dataclass(frozen=True, slots=True)
class Api:
    """Where the API is, the key for it, and what the ledger calls it."""

    base_url: str
    key: SecretStr | None
    name: str


@asynccontextmanager
async def reached_api(settings: Settings) -> AsyncIterator[Api]:
    """The API by ``settings``: the real one, or a sandbox that lives as long as the block."""
    if not settings.sandbox:
        yield Api(settings.base_url, settings.usable_key, settings.base_url)
        return
    from nano_banana_sandbox.config import SandboxConfig
    from nano_banana_sandbox.server import serve_sandbox

    async with serve_sandbox(SandboxConfig(seconds=settings.sandbox_seconds)) as sandbox:
        yield Api(sandbox.url, SANDBOX_KEY, "sandbox")


def _trusted_origins(base_url: str) -> list[str]:
    """A stand-in on this machine serves its pictures from this machine too; nothing else may."""
    parts = urlsplit(base_url)
    return [f"{parts.scheme}://{parts.netloc}"] if parts.hostname in LOOPBACK_HOSTS else []
