"""Standard output as MCP wants it on Windows too: each message ends with LF, and nothing else gets between."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import anyio


@contextmanager
def answers_to() -> Iterator[anyio.AsyncFile[str] | None]:
    """The stream that answers are written to; None where the SDK's own is right.

    On Windows the SDK's ends each message with CR LF, as text does there by default.
    """
    if sys.platform != "win32":
        yield None
        return
    wire = os.dup(1)  # never closed: a thread of the SDK may still be writing to it
    os.dup2(2, 1)  # what anything else prints meanwhile must not be taken for a message
    try:
        yield anyio.wrap_file(io.TextIOWrapper(os.fdopen(wire, "wb", closefd=False), encoding="utf-8", newline="\n"))
    finally:
        os.dup2(wire, 1)
