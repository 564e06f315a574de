"""The marker of tests that cannot run on Windows."""

from __future__ import annotations

import sys

import pytest

posix_only = pytest.mark.skipif(
    sys.platform == "win32",
    reason="NOT TESTED ON WINDOWS: needs what only POSIX has (its paths, links, pipes, modes, terminals, fork)",
)
