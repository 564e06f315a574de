"""Memory of whole pictures goes back to the system when they are gone."""

from __future__ import annotations

import contextlib
import functools
import sys

_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 1_048_576


@functools.cache
def give_back_large_blocks() -> None:
    """Have glibc map blocks of a megabyte and more by themselves, once and for all.

    Left alone, it raises that bound to the largest block that was ever freed, and keeps the next ones of that size:
    measured, some 18 to 34 MB after pictures of 16 MB. Other allocators are left as they are.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(ImportError, AttributeError, MemoryError, OSError):  # musl has none; hardened units forbid
        import ctypes

        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
