"""Run background tasks so that an exception is logged and does not cancel the task group."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0
"""Pause before failed work is started again."""


@contextmanager
def log_exceptions(name: str) -> Iterator[None]:
    """Log an exception of the block and continue after it. Cancellation passes through.

    Args:
        name: What the block does, for the log.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the edge of a background task: its errors must not end the server
        logger.warning("%s failed: %s", name, describe_error(error))


async def supervise(name: str, work: Callable[[], Awaitable[object]], *, restarts: bool = False) -> None:
    """Run ``work`` within :func:`log_exceptions`.

    Args:
        name: What the work is, for the log.
        restarts: Whether to start the work again, :data:`PAUSE_SECONDS` after each failure.
    """
    while True:
        with log_exceptions(name):
            await work()
            return
        if not restarts:
            return
        await anyio.sleep(PAUSE_SECONDS)


def describe_error(error: BaseException) -> str:
    """Describe an error for the log without its message, which may contain a prompt.

    An error class with a ``repr`` free of such text sets ``is_safe_to_log = True`` and is described by its ``repr``.
    Any other error is described by its class and the line that raised it.
    """
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(describe_error(member) for member in error.exceptions)
    if getattr(error, "is_safe_to_log", False):
        return repr(error)
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return type(error).__name__
    return f"{type(error).__name__} at {Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}"
