"""The composition root: settings in, a server out."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Protocol, TypedDict, TypeVar, Unpack
from urllib.parse import urlsplit

import anyio
from anyio.abc import TaskGroup
from mcp.server.request_state import RequestStateCodec
from pydantic import SecretStr

from nano_banana_mcp.common.key_store import stored_key
from nano_banana_mcp.common.supervise import supervise
from nano_banana_mcp.common.urls import LOOPBACK_HOSTS, is_loopback
from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.generations.change_bus import ChangeBus
from nano_banana_mcp.generations.instrumentation import NO_INSTRUMENTATION, Instrumentation
from nano_banana_mcp.generations.quotas import Callers, Limits, Quotas
from nano_banana_mcp.images.saving.output_folder import OutputFolder
from nano_banana_mcp.ledger.base import Ledger
from nano_banana_mcp.media.export import RETRY_SECONDS, Exporter
from nano_banana_mcp.media.image_store import ImageStore
from nano_banana_mcp.service.account import AccountReader
from nano_banana_mcp.service.generation_service import MAX_EXPORT_SECONDS, GenerationService
from nano_banana_mcp.service.references import ReferenceResolver
from nano_banana_mcp.service.submission import Submitter
from nano_banana_mcp.service.uploads import BaseUrl, UploadService, no_base_url
from nano_banana_mcp.settings import Settings
from nano_banana_mcp.storage import images_folder, open_ledger
from nano_banana_mcp.tracking.callbacks import CallbackTracker
from nano_banana_mcp.tracking.refresh import TaskRefresher
from nano_banana_mcp.tracking.schedule import Schedule
from nano_banana_mcp.tracking.sweeper import IndexBuilder, MissingImageSweeper, OpenTaskSweeper, ReplicaFollower
from nano_banana_mcp.tracking.waiter import TaskWaiter
from nano_banana_mcp.upload_page.loopback import LoopbackPage
from nano_banana_tools.server import ImageServer
from nano_banana_tools.subscriptions.bus import ResourceUpdateBus

Number = TypeVar("Number", int, Decimal)

CLOSING_SECONDS = 2.0
"""For the last writes when a service ends, and again for closing connections."""

SIGNAL_GRACE_SECONDS = 3.5
LAST_WRITE_SECONDS = 0.5
"""Hosts kill a server about five seconds after their signal."""

SANDBOX_KEY = SecretStr("dk-sandbox")


@dataclass(frozen=True, slots=True)
class Timing:
    """Pauses and limits of a service, in seconds.

    Attributes:
        export_retries: Pause before each further attempt at an image that its host does not return.
        max_export: Longest time that an answer waits for the export of its images.
        closing: Longest time for the last writes when a service ends.
    """

    export_retries: Sequence[float] = RETRY_SECONDS
    max_export: float = MAX_EXPORT_SECONDS
    closing: float = CLOSING_SECONDS


DEFAULT_TIMING = Timing()


class AsyncResource(Protocol):
    """Something that must be closed."""

    async def aclose(self) -> None:
        """Close it."""


class ServiceOptions(TypedDict, total=False):
    """What surrounds a service, besides its settings.

    Attributes:
        callback_for: Returns the callback URL for a generation id; None if this server receives no callbacks.
        callers: Keys and limits of the callers, if they are authenticated.
        sweeps_open_tasks: Whether to query tasks that no call waits for.
        local: Whether all callers are on this machine, as over stdio: only then may they name files.
        uploads_at: Where the upload page is served. None: for local callers on the loopback interface, else nowhere.
        instrumentation: Receives what metrics count.
        schedule: When the API is queried.
        timing: Pauses and limits.
        now: Wall-clock time, Unix seconds.
    """

    callback_for: Callable[[str], str] | None
    callers: Callers | None
    sweeps_open_tasks: bool
    local: bool
    uploads_at: BaseUrl | None
    instrumentation: Instrumentation
    schedule: Schedule | None
    timing: Timing
    now: Callable[[], float]


def build_server(
    settings: Settings,
    *,
    icon_url: str | None = None,
    state_codec: RequestStateCodec | None = None,
    **options: Unpack[ServiceOptions],
) -> ImageServer:
    """Build a server from ``settings``. Nothing is opened or sent before it serves.

    Args:
        icon_url: Where the server's icon is served; None if at no public address.
        state_codec: Seals the state of confirmations, which another replica may open; None for a key of this process.
        options: See :class:`ServiceOptions`.
    """
    return ImageServer(
        open_service(settings, **options),
        ResourceUpdateBus(),
        options.get("instrumentation", NO_INSTRUMENTATION),
        resource_links=settings.resource_links == "on",
        keep_days=settings.keep_days,
        icon_url=icon_url,
        state_codec=state_codec,
    )


async def serve_stdio(
    server: ImageServer, stdin: anyio.AsyncFile[str] | None = None, stdout: anyio.AsyncFile[str] | None = None
) -> None:
    """Serve until stdin ends or a signal arrives; the outcomes of open submits are recorded first."""
    async with anyio.create_task_group() as tasks:
        if sys.platform != "win32":  # its event loop has no signal handlers
            tasks.start_soon(_exit_on_signal, server, tasks)
        await server.run_stdio_async(stdin, stdout)
        tasks.cancel_scope.cancel()


async def _exit_on_signal(server: ImageServer, tasks: TaskGroup) -> None:
    written = anyio.Event()

    async def flush_ledger() -> None:
        await server.flush_ledger()
        written.set()

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            with anyio.move_on_after(SIGNAL_GRACE_SECONDS):
                await server.wait_until_settled()
            tasks.start_soon(flush_ledger)  # not awaited directly: the disk may be locked
            with anyio.move_on_after(LAST_WRITE_SECONDS):
                await written.wait()
            # The SDK's thread blocks in a read of stdin, which nothing can wake, and would keep the process alive.
            logging.shutdown()
            os._exit(128 + number)


@asynccontextmanager
async def open_service(settings: Settings, **options: Unpack[ServiceOptions]) -> AsyncIterator[GenerationService]:
    """Build the service from ``settings``; leaving the block closes the connections and the ledger.

    Args:
        options: See :class:`ServiceOptions`.
    """
    async with open_api(settings) as api:
        client = DefapiClient(
            api.base_url,
            api.key,
            key_problem=settings.key_problem,
            stored_key=stored_key_of(settings),
            timeout_seconds=settings.timeout_seconds,
            concurrency=settings.upstream_concurrency,
            queries_per_second=settings.queries_per_second,
        )
        ledger = open_ledger(settings, memory_fallback=options.get("local", False))
        async with compose_service(settings, client, ledger, api=api.name, **options) as service:
            yield service


@asynccontextmanager
async def compose_service(
    settings: Settings,
    client: DefapiClient,
    ledger: Ledger,
    *,
    api: str,
    callback_for: Callable[[str], str] | None = None,
    callers: Callers | None = None,
    sweeps_open_tasks: bool = False,
    local: bool = False,
    uploads_at: BaseUrl | None = None,
    instrumentation: Instrumentation = NO_INSTRUMENTATION,
    schedule: Schedule | None = None,
    timing: Timing = DEFAULT_TIMING,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[GenerationService]:
    """Build the service around a client and a ledger, which are closed at the end; see :class:`ServiceOptions`.

    Args:
        api: What the ledger calls the API.
    """
    schedule = schedule or Schedule()
    confirms = settings.confirm_above is not None
    callers_or_default = callers or Callers(quotas=quotas(settings), confirms=lambda: confirms)
    async with _closing(client, ledger), anyio.create_task_group() as tasks:
        images = ImageStore(
            ledger,
            images_folder(settings),
            max_bytes=None if settings.keep_megabytes is None else round(settings.keep_megabytes * 1_000_000),
            keep_days=settings.keep_days,
            trusted_origins=_trusted_origins(client.base_url),
            trust_resolver=settings.trust_resolver,
            tasks=tasks,
            now=now,
            opened_at=now(),
        )
        folder = None if settings.output_dir is None else OutputFolder(settings.output_dir)
        is_for_operator = local or not _is_open_to_others(settings, callers)
        exporter = None
        if folder is not None:
            exporter = Exporter(images, folder, tasks, now, shown=is_for_operator, retry_seconds=timing.export_retries)
        bus = ChangeBus()
        callbacks = CallbackTracker(callback_for)
        refresher = TaskRefresher(
            client, ledger, images, callers_or_default, callbacks, bus, instrumentation, tasks, now
        )
        waiter = TaskWaiter(refresher, callbacks, tasks, now, schedule)
        loopback_page = LoopbackPage(lambda: uploads, tasks)
        uploads = UploadService(
            ledger,
            images,
            per_day=settings.uploads_per_day or None,
            max_side=settings.reference_max_side,
            base_url=uploads_at or (loopback_page.base_url if local else no_base_url),
            now=now,
        )
        references = ReferenceResolver(
            refresher,
            images,
            uploads,
            folder,
            api_url=client.base_url,
            input_folders=settings.input_folders if local else None,
            max_side=settings.reference_max_side,
        )
        submitter = Submitter(client, ledger, tasks, callers_or_default, now, instrumentation, callbacks)
        bus.subscribe(waiter.on_change)
        for subscriber in (callbacks.on_end, images.on_end, *([exporter.on_end] if exporter else [])):
            bus.subscribe_to_ends(subscriber)
        account = AccountReader(
            client, ledger, callers_or_default, api=api, now=now, shows_server_balance=is_for_operator
        )
        service = GenerationService(
            ledger=ledger,
            account=account,
            images=images,
            exporter=exporter,
            references=references,
            uploads=uploads,
            submitter=submitter,
            callbacks=callbacks,
            refresher=refresher,
            waiter=waiter,
            bus=bus,
            callers=callers_or_default,
            instrumentation=instrumentation,
            default_model=settings.model,
            api=api,
            now=now,
            allows_save_as=local,
            max_export_seconds=timing.max_export,
        )
        follower = ReplicaFollower(ledger, refresher, waiter, uploads.reload)
        tasks.start_soon(partial(supervise, "Following other replicas", follower.run, restarts=True))
        missing_images = MissingImageSweeper(ledger, images, api=api, now=now)
        tasks.start_soon(partial(supervise, "The sweeper of missing images", missing_images.run, restarts=True))
        builder = IndexBuilder(ledger)
        tasks.start_soon(partial(supervise, "Building the indexes of the ledger", builder.run, restarts=True))
        if sweeps_open_tasks:
            sweeper = OpenTaskSweeper(ledger, images, refresher, waiter, callbacks, api=api, now=now, schedule=schedule)
            tasks.start_soon(partial(supervise, "The sweeper of open tasks", sweeper.run, restarts=True))
        async with _closing(images):
            yield service
            with anyio.move_on_after(timing.closing):
                await service.wait_until_settled()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def _closing(*resources: AsyncResource) -> AsyncIterator[None]:
    """Close all resources at the end of the block, even if it is cancelled."""
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSING_SECONDS):
            for resource in resources:
                await resource.aclose()


def _is_open_to_others(settings: Settings, callers: Callers | None) -> bool:
    """Whether callers may be other people than the one who runs the server."""
    is_authenticated = callers is not None and callers.authenticated
    listens_to_others = not all(map(is_loopback, settings.listen_addresses))
    return is_authenticated or listens_to_others or bool(settings.allowed_host_names or settings.public_url)


def quotas(
    settings: Settings, *, authenticated: bool = False, own_limits: Callable[[str], Limits | None] | None = None
) -> Quotas:
    """Return the limits of ``settings``.

    Args:
        authenticated: Whether callers are authenticated: only then are there default limits, for a team of fifty.
        own_limits: Returns a caller's own limits; None if they have none.
    """

    def limit(value: Number | None, default: Number) -> Number | None:
        return (default if authenticated else None) if value is None else (value or None)

    per_caller = Limits(
        limit(settings.calls_per_minute, 120),
        limit(settings.open_tasks, 20),
        limit(settings.credits_per_day, Decimal(50)),
        settings.confirm_above,
    )
    overall = Limits(
        limit(settings.total_calls_per_minute, 3_000),
        limit(settings.total_open_tasks, 300),
        limit(settings.total_credits_per_day, Decimal(1_000)),
    )
    return Quotas(per_caller, overall, own_limits=own_limits, clock=time.monotonic)


@dataclass(frozen=True, slots=True)
class Api:
    """The address of the API, its key, and its name in the ledger."""

    base_url: str
    key: SecretStr | None
    name: str


@asynccontextmanager
async def open_api(settings: Settings) -> AsyncIterator[Api]:
    """Return the API of ``settings``: the real one, or a sandbox that lives as long as the block."""
    if not settings.sandbox:
        yield Api(settings.base_url, settings.usable_key, settings.base_url)
        return
    from nano_banana_sandbox.config import SandboxConfig
    from nano_banana_sandbox.server import serve_sandbox

    async with serve_sandbox(SandboxConfig(seconds=settings.sandbox_seconds)) as sandbox:
        yield Api(sandbox.url, SANDBOX_KEY, "sandbox")


def stored_key_of(settings: Settings) -> Callable[[], SecretStr | None]:
    """Return what reads the key of the system's keyring, where the settings name no key: those of the settings win."""
    return (lambda: None) if settings.sandbox or settings.api_key is not None else stored_key


def _trusted_origins(base_url: str) -> list[str]:
    """A stand-in for the API on this machine serves its images from this machine; nothing else may."""
    parts = urlsplit(base_url)
    return [f"{parts.scheme}://{parts.netloc}"] if parts.hostname in LOOPBACK_HOSTS else []
