"""The edge of tasks that run beside the callers': what goes wrong in one is logged, and ends nothing else.

A task group ends all its tasks with the first that raises; the studio's holds every call.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

from nano_banana_mcp.defapi.errors import DefapiError
from nano_banana_mcp.ledger.base import LedgerError

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0


@contextmanager
def log_exceptions(name: str) -> Iterator[None]:
    """Log what is raised in the block, and go on after it. Cancellation passes.

    Args:
        name: What the block does, for people.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the edge of a task: nothing in it may end the server
        logger.warning("%s went wrong: %s", name, in_words(error))


async def supervise(name: str, work: Callable[[], Awaitable[object]], *, goes_on: bool = False) -> None:
    """Run ``work`` under a :func:`log_exceptions`.

    Args:
        goes_on: Whether it runs until cancelled: then it is begun again, :data:`PAUSE_SECONDS` after it went wrong.
    """
    while True:
        with log_exceptions(name):
            await work()
            return
        if not goes_on:
            return
        await anyio.sleep(PAUSE_SECONDS)


def in_words(error: BaseException) -> str:
    """What went wrong, for the log. Of an error not ours the kind and the place: its words may hold a prompt."""
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(in_words(each) for each in error.exceptions)
    if isinstance(error, DefapiError | LedgerError):
        return repr(error)
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = "" if place is None else f" at {Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}"
    return f"{type(error).__name__}{where}"
