"""The SDK ends each stdio message with CR LF on Windows; MCP requires LF. No upstream issue is filed yet."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import anyio


@contextmanager
def message_output() -> Iterator[anyio.AsyncFile[str] | None]:
    """The stream for outgoing messages; None if the SDK's own is right, as on every system but Windows."""
    if sys.platform != "win32":
        yield None
        return
    messages = os.dup(1)  # never closed: a thread of the SDK may still be writing to it
    os.dup2(2, 1)  # so that no other output of the process is taken for a message
    try:
        yield anyio.wrap_file(
            io.TextIOWrapper(os.fdopen(messages, "wb", closefd=False), encoding="utf-8", newline="\n")
        )
    finally:
        os.dup2(messages, 1)
