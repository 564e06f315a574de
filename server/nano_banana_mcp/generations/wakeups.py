"""What other replicas say that they have changed: a wake-up, and never the truth itself."""

from __future__ import annotations

import logging
import random

import anyio
import psycopg

from nano_banana_mcp.generations.guard import in_words
from nano_banana_mcp.generations.ledger import Changed
from nano_banana_mcp.generations.postgres import CHANNEL
from nano_banana_mcp.generations.postgres_connection import Database

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


async def listen(database: Database, holder: str, changed: Changed) -> None:
    """Tell of every change that is not ``holder``'s own, for as long as this runs; after each time that nobody
    listened, tell that anything may have changed."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(autocommit=True, **database.parameters)
            async with connection:
                await connection.execute(f"LISTEN {CHANNEL}".encode())
                await changed(None)
                pause = FIRST_PAUSE_SECONDS
                async for notice in connection.notifies():
                    by, _, intent_id = notice.payload.partition(" ")
                    if by != holder:
                        await changed(intent_id)
        except psycopg.Error as error:
            logger.info("not listening for other replicas: %s", type(error).__name__)
        except Exception as error:  # noqa: BLE001 - the edge of this task: nothing in it may end the server
            logger.warning("not listening for other replicas: %s", in_words(error))
        await anyio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that replicas do not return in step
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
