"""A lock between processes: the tests run in several, and a missing program is installed once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def in_turn(name: str) -> Iterator[None]:
    """Wait for other processes that are inside such a block of the same name."""
    try:
        import fcntl
    except ImportError:  # Windows, where the tests run in one process
        yield
        return
    with (Path(tempfile.gettempdir()) / f"nano-banana-mcp-{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
