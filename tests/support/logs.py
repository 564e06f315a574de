"""Restores the loggers of this process after a command."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from nano_banana_mcp.common.logging import _MIN_LEVELS, _OURS


@contextmanager
def restored_logging() -> Iterator[None]:
    """Give the loggers their levels and handlers back at the end: pytest's own handler is one of them."""
    names = (*_OURS, *_MIN_LEVELS, "mcp.client")  # `doctor` silences the last
    loggers = [logging.getLogger(), *map(logging.getLogger, names)]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, level, handlers in before:
            logger.setLevel(level)
            logger.handlers[:] = handlers
