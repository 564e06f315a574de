"""The ledger of several replicas: in PostgreSQL, with notifications of changes and one replica that sweeps."""

from __future__ import annotations

import contextlib
import logging
import random
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import psycopg

from nano_banana_mcp.common.supervise import describe_error
from nano_banana_mcp.ledger.async_ledger import DurableLedger
from nano_banana_mcp.ledger.base import Changed
from nano_banana_mcp.ledger.postgres import CHANNEL, PostgresLedger
from nano_banana_mcp.ledger.postgres_connection import (
    BACKGROUND_INDEXES,
    BUILD_LOCK,
    MAX_CONNECTIONS,
    SWEEP_LOCK,
    Database,
)
from nano_banana_mcp.ledger.queries import SqlLedger

logger = logging.getLogger(__name__)

MIN_RECONNECT_SECONDS = 0.1
MAX_RECONNECT_SECONDS = 5.0

AsyncConnection = psycopg.AsyncConnection[Any]


class SharedLedger(DurableLedger):
    """A :class:`DurableLedger` in PostgreSQL.

    Args:
        url: ``postgresql://…``
        prune: See :class:`DurableLedger`.
    """

    _MAX_THREADS = MAX_CONNECTIONS

    def __init__(self, url: str, prune: Callable[[SqlLedger], object] | None = None) -> None:
        self._server = Database(url)
        self._sender = secrets.token_hex(8)
        self._sweep_connection: AsyncConnection | None = None
        super().__init__(partial(PostgresLedger, self._server, self._sender), prune)
        self.stores_images = True

    async def follow(self, changed: Changed) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`. Retries pending writes meanwhile."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._retry_pending)
            await listen(self._server, self._sender, changed)

    async def acquire_sweep_lock(self) -> bool:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`. False while the database is away."""
        try:
            if self._sweep_connection is not None:
                await self._sweep_connection.execute("SELECT 1")  # the lock ends with its connection
                return True
            self._sweep_connection = await _connect(self._server)
            is_acquired = await _try_lock(self._sweep_connection, SWEEP_LOCK)
        except psycopg.Error as error:
            logger.info("The sweep lock cannot be acquired: %s", type(error).__name__)
            is_acquired = False
        if not is_acquired:
            await self._release_sweep_lock()
        return is_acquired

    async def build_once(self) -> None:
        """See :class:`DurableLedger`. One replica builds at a time."""
        try:
            connection = await _connect(self._server)
            try:
                await self._build_if_alone(connection)
            finally:
                with anyio.CancelScope(shield=True):
                    await connection.close()
        except psycopg.Error as error:
            logger.info("The indexes of the ledger are built later: %s", type(error).__name__)

    async def _build_if_alone(self, connection: AsyncConnection) -> None:
        if not await _try_lock(connection, BUILD_LOCK):
            return
        await self._build(lambda database: database.build_sums())
        await self._build(_combine_sums)
        await connection.execute("SET search_path = nano_banana")
        await connection.execute("SET statement_timeout = 0")  # a large ledger takes minutes, and no caller waits
        for name, definition in BACKGROUND_INDEXES.items():
            cursor = await connection.execute(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [name]
            )
            row = await cursor.fetchone()
            if row is not None and row[0]:
                continue
            if row is not None:  # a build that was interrupted leaves an index that is not used
                await connection.execute(f"DROP INDEX CONCURRENTLY {name}".encode())
            await connection.execute(f"CREATE INDEX CONCURRENTLY {name} ON {definition}".encode())
            await connection.execute("ANALYZE generations")

    async def aclose(self) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        with anyio.CancelScope(shield=True):
            await self._release_sweep_lock()
        await super().aclose()

    async def _release_sweep_lock(self) -> None:
        connection, self._sweep_connection = self._sweep_connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                await connection.close()


async def _connect(database: Database) -> AsyncConnection:
    """Connect within the time limit of the parameters, even if cancelled: psycopg would leave the connection open."""
    with anyio.CancelScope(shield=True):
        connection = await psycopg.AsyncConnection.connect(autocommit=True, **database.parameters)
    return connection  # noqa: RET504 - to a type checker, a cancel scope may suppress an exception


async def _try_lock(connection: AsyncConnection, number: int) -> bool:
    """Take a lock that ends with the connection. Returns whether no other process has it."""
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", [number])
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


def _combine_sums(database: SqlLedger) -> bool:
    assert isinstance(database, PostgresLedger)
    database.combine_sums()
    return False


async def listen(database: Database, sender: str, changed: Changed) -> None:
    """Call ``changed`` for every change by another process until cancelled.

    After each reconnect it is called with None: any generation may have changed meanwhile.

    Args:
        sender: Name of this process in notifications; its own are skipped.
    """
    pause = MIN_RECONNECT_SECONDS
    while True:
        try:
            connection = await _connect(database)
            try:
                await connection.execute(f"LISTEN {CHANNEL}".encode())
                await changed(None)
                pause = MIN_RECONNECT_SECONDS
                async for notification in connection.notifies():
                    notifier, _, generation_id = notification.payload.partition(" ")
                    if notifier != sender:
                        await changed(generation_id)
            finally:  # not `async with`: where cancelled, it waits for the lock of notifies(), and closes nothing
                await connection.close()
        except psycopg.Error as error:
            logger.info("Not listening for other replicas: %s", type(error).__name__)
        except Exception as error:  # noqa: BLE001 - the edge of this task: an error here must not end the server
            logger.warning("Not listening for other replicas: %s", describe_error(error))
        await anyio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that replicas do not reconnect in step
        pause = min(2 * pause, MAX_RECONNECT_SECONDS)
